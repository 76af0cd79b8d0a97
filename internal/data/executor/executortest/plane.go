package executortest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/names"
)

// planeDir, in the environment, makes the test binary a plane with its state in that folder.
const planeDir = "BIPLANE_SUITE_PLANE"

// order is what the suite tells the plane in the other process, answer what it hears from it.
type order struct {
	Start executor.Command
}

type answer struct {
	Ready   bool
	Tried   *names.Attempt // Start has returned
	Err     string
	Started *names.Attempt
	Ended   *executor.Exit
}

// Main is to be called first thing in TestMain. In a process that the suite has started as a plane it does not return.
func Main(subject Subject) {
	dir := os.Getenv(planeDir)
	if dir == "" {
		return
	}
	fmt.Fprintln(os.Stderr, "plane of the suite:", serve(subject, dir))
	os.Exit(1)
}

// serve returns when something is wrong: a plane of the suite ends by being killed.
func serve(subject Subject, dir string) error {
	out := &answers{encoder: json.NewEncoder(os.Stdout)}
	e, _, err := subject.Open(dir, out)
	if err != nil {
		return err
	}
	out.tell(answer{Ready: true})
	for decoder := json.NewDecoder(bufio.NewReader(os.Stdin)); ; {
		var o order
		if err := decoder.Decode(&o); err != nil {
			return err // the suite is gone
		}
		go func() {
			told := answer{Tried: &o.Start.ID}
			if err := e.Start(context.Background(), o.Start); err != nil {
				told.Err = err.Error()
			}
			out.tell(told)
		}()
	}
}

type answers struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (a *answers) tell(one answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.encoder.Encode(one) // a suite that is gone reads nothing
}

func (a *answers) Started(id names.Attempt, _ time.Time) { a.tell(answer{Started: &id}) }
func (a *answers) Ended(exit executor.Exit)              { a.tell(answer{Ended: &exit}) }

// plane is a plane in another process.
type plane struct {
	t       *testing.T
	cmd     *exec.Cmd
	orders  *json.Encoder
	answers chan answer
}

func startPlane(t *testing.T, dir string) *plane {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), planeDir+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &plane{t: t, cmd: cmd, orders: json.NewEncoder(stdin), answers: make(chan answer, 1000)}
	go func() {
		defer close(p.answers)
		for decoder := json.NewDecoder(stdout); ; {
			var one answer
			if decoder.Decode(&one) != nil {
				return
			}
			p.answers <- one
		}
	}()
	t.Cleanup(p.kill)
	p.await("ready", func(a answer) bool { return a.Ready })
	return p
}

func (p *plane) start(command executor.Command) {
	p.t.Helper()
	if err := p.orders.Encode(order{Start: command}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plane) await(what string, is func(answer) bool) {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case a, ok := <-p.answers:
			if !ok {
				p.t.Fatalf("the plane ended before: %s", what)
			}
			if a.Err != "" {
				p.t.Fatalf("the plane failed: %s", a.Err)
			}
			if is(a) {
				return
			}
		case <-deadline:
			p.t.Fatalf("waited in vain for the plane: %s", what)
		}
	}
}

func (p *plane) awaitStarted(id names.Attempt) {
	p.t.Helper()
	p.await("start", func(a answer) bool { return a.Started != nil && *a.Started == id })
}

// kill is kill -9.
func (p *plane) kill() {
	_ = p.cmd.Process.Kill() // dead already when called again
	_ = p.cmd.Wait()         // says that it was killed
}
