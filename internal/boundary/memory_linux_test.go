package boundary_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"biplane.dev/biplane/internal/boundary"
)

// TestMain lets the test binary play the process that is searched: it is given markers on its standard input in a form that a
// search does not know, so that only what it makes of them is found.
func TestMain(m *testing.M) {
	if len(os.Args) != 2 || os.Args[1] != "remember" {
		os.Exit(m.Run())
	}
	in := bufio.NewReader(os.Stdin)
	line, _ := in.ReadString('\n')
	var kept [][]byte
	for i := range line[:len(line)-1] {
		kept = append(kept, []byte{line[i] ^ 0x55})
	}
	var marker []byte
	for _, b := range kept {
		marker = append(marker, b...)
	}
	hidden := base64.StdEncoding.EncodeToString(append([]byte("xy"), marker...))
	fmt.Println("ready")
	_, _ = in.ReadString('\n')
	fmt.Println(len(hidden), len(marker)) // both are alive until here
}

func TestMemory(t *testing.T) {
	t.Parallel()
	core := boundary.NewCore()
	marker, _ := core.At("heap")
	covered := make([]byte, len(marker))
	for i := range covered {
		covered[i] = marker[i] ^ 0x55
	}
	child := exec.Command(os.Args[0], "remember")
	in, errIn := child.StdinPipe()
	out, errOut := child.StdoutPipe()
	if err := child.Start(); err != nil || errIn != nil || errOut != nil {
		t.Fatal(err, errIn, errOut)
	}
	defer func() {
		_ = in.Close()
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := in.Write(append(covered, '\n')); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	s := boundary.NewSearcher(core, func(h boundary.Hit) { found[h.Form] = h.Place })
	n, err := s.Memory(child.Process.Pid)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if found["plain"] != "heap" || found["base64"] != "heap" {
		t.Fatal(found)
	}
	if _, err := s.Memory(1 << 30); err == nil {
		t.Fatal("a process that is not there was searched without an error")
	}
}
