package tether_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"biplane.dev/biplane/internal/tether"
)

// TestMain lets the test binary play the child: the first argument says which.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "hold":
		child := exec.Command("sh", "-c", "echo $$; exec sleep 600")
		child.Stdout = os.Stdout
		_ = tether.Run(child)
	case len(os.Args) == 2 && os.Args[1] == "stop":
		ctx, release := tether.Stopped(os.Stdin)
		defer release()
		fmt.Println("running")
		<-ctx.Done()
		fmt.Println("stopping")
		_, _ = io.Copy(io.Discard, os.NewFile(3, "gate")) // an end that takes its time
		fmt.Println("stopped")
	default:
		os.Exit(m.Run())
	}
}

// However often and in whichever order it is asked to stop, a process ends in order.
func TestStopped(t *testing.T) {
	t.Parallel()
	lifeline := func(p *os.Process, pipe io.Closer) error { return pipe.Close() }
	terminate := func(p *os.Process, pipe io.Closer) error { return p.Signal(syscall.SIGTERM) }
	interrupt := func(p *os.Process, pipe io.Closer) error { return p.Signal(syscall.SIGINT) }
	type ask = func(*os.Process, io.Closer) error
	for name, asked := range map[string][2]ask{
		"lifeline, SIGTERM": {lifeline, terminate},
		"SIGTERM, lifeline": {terminate, lifeline},
		"SIGTERM, SIGTERM":  {terminate, terminate},
		"SIGINT, SIGTERM":   {interrupt, terminate},
		"lifeline, SIGINT":  {lifeline, interrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, gate, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			child := exec.Command(os.Args[0], "stop")
			child.ExtraFiles = []*os.File{open}
			pipe, pipeErr := child.StdinPipe()
			out, outErr := child.StdoutPipe()
			if err := child.Start(); err != nil || pipeErr != nil || outErr != nil {
				t.Fatal(err, pipeErr, outErr)
			}
			defer child.Process.Kill()
			said := bufio.NewScanner(out)
			expect := func(word string) {
				t.Helper()
				if !said.Scan() || said.Text() != word {
					t.Fatalf("the child said %q, want %q", said.Text(), word)
				}
			}
			expect("running")
			if err := asked[0](child.Process, pipe); err != nil {
				t.Fatal(err)
			}
			expect("stopping")
			if err := asked[1](child.Process, pipe); err != nil {
				t.Fatal(err)
			}
			if err := gate.Close(); err != nil {
				t.Fatal(err)
			}
			_ = open.Close()
			expect("stopped")
			if err := child.Wait(); err != nil {
				t.Fatal("it did not end by itself:", err)
			}
		})
	}
}
