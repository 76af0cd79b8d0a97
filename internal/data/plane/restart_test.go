package plane_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/plane"
)

// bePlane is a plane until it is killed; what runs goes on without it. It prints where it listens.
func bePlane(state string) {
	settings := config(state, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	settings.EndAttempts = false
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test's process is gone
		os.Exit(1)
	}()
	err := plane.Run(context.Background(), settings, func(address string) { fmt.Println(address) })
	fmt.Fprintln(os.Stderr, "the plane ended:", err)
	os.Exit(1)
}

// victim is a plane in a process of its own.
type victim struct {
	clients
	process *exec.Cmd
}

func startVictim(t *testing.T, state string) *victim {
	t.Helper()
	v := &victim{process: exec.Command(os.Args[0])}
	v.process.Env = append(os.Environ(), planeEnv+"="+state)
	v.process.Stderr = t.Output()
	out, err := v.process.StdoutPipe()
	wantOK(t, "start a plane", err)
	_, err = v.process.StdinPipe() // which ends with this process
	wantOK(t, "start a plane", err)
	wantOK(t, "start a plane", v.process.Start())
	t.Cleanup(v.kill)
	address, err := bufio.NewReader(out).ReadString('\n')
	wantOK(t, "read the address of a plane", err)
	v.clients = connectTo(t, strings.TrimSpace(address))
	return v
}

// kill is kill -9.
func (v *victim) kill() {
	_ = v.process.Process.Kill() // dead already when called again
	_ = v.process.Wait()         // says that it was killed
}

// scriptSpec is a task that runs a shell script in a process.
func scriptSpec(script string) *task.TaskSpec {
	return &task.TaskSpec{ShortName: "script", TaskTemplate: &core.TaskTemplate{
		Id:   &core.Identifier{ResourceType: core.ResourceType_TASK, Project: project, Domain: domain, Name: "script", Version: "1"},
		Type: "python", Metadata: &core.TaskMetadata{}, Interface: &core.TypedInterface{},
		Target: &core.TaskTemplate_Container{Container: &core.Container{
			Image: "ghcr.io/flyteorg/flyte:py3.12-v2.12.1", Command: []string{"sh", "-c", script},
			Resources: &core.Resources{Requests: []*core.Resources_ResourceEntry{{Name: core.Resources_CPU, Value: "100m"}, {Name: core.Resources_MEMORY, Value: "16Mi"}}},
		}},
	}}
}

// family is a run with children of all kinds, and how often each child with a process was executed.
type family struct {
	*testing.T
	state    string
	children []*actions.EnqueueRequest
	lengths  map[string]time.Duration // of those that sleep
	count    string                   // folder with a file for each script, a line for each execution
	gate     string                   // the scripts wait for this file
}

const scripts, echoes, sleeps = 4, 10, 150

func newFamily(t *testing.T, state string) *family {
	t.Helper()
	f := &family{T: t, state: state, lengths: map[string]time.Duration{}, count: t.TempDir(), gate: filepath.Join(t.TempDir(), "gate")}
	b := &bench{T: t, state: state}
	for i := range sleeps {
		name, length := fmt.Sprintf("sleep-%d", i), time.Duration(1+i*i%700)*time.Millisecond
		f.children, f.lengths[name] = append(f.children, b.child("family", name, length)), length
	}
	for i := range echoes {
		request := b.child("family", fmt.Sprintf("echo-%d", i), 0)
		raw, err := proto.Marshal(echoInputs(fmt.Sprint(i)))
		wantOK(t, "encode inputs", err)
		wantOK(t, "write inputs", os.WriteFile(request.GetAction().GetInputUri(), raw, 0o600))
		request.GetAction().GetTask().Spec = echoSpec()
		f.children = append(f.children, request)
	}
	for i := range scripts {
		request := b.child("family", fmt.Sprintf("script-%d", i), 0)
		script := fmt.Sprintf("echo executed >> %[1]s/$ACTION_NAME; while test -d %[1]s && ! test -e %[2]s; do sleep 0.05; done", f.count, f.gate)
		request.GetAction().GetTask().Spec = scriptSpec(script)
		f.children = append(f.children, request)
	}
	return f
}

// enqueue asks for the children as the code of a parent does: again, until the plane has said that they are there.
func (f *family) enqueue(client func() clients, acknowledged func(n int)) {
	work, done := make(chan *actions.EnqueueRequest), 0
	var all sync.WaitGroup
	var mu sync.Mutex
	for range 8 {
		all.Go(func() {
			for request := range work {
				until(f.T, "an enqueue is accepted", func() bool {
					_, err := client().actions.Enqueue(f.Context(), proto.CloneOf(request))
					return err == nil || connect.CodeOf(err) == connect.CodeAlreadyExists
				})
				mu.Lock()
				done++
				acknowledged(done)
				mu.Unlock()
			}
		})
	}
	for _, request := range f.children {
		work <- request
	}
	close(work)
	all.Wait()
}

// check waits for the end of all children, and looks at what is recorded of each.
func (f *family) check(b *bench) {
	f.Helper()
	wantOK(f, "let the scripts end", os.WriteFile(f.gate, nil, 0o600))
	for _, child := range f.children {
		name := child.GetAction().GetActionId().GetName()
		d := b.await("family", name)
		wantPhase(f, d, common.ActionPhase_ACTION_PHASE_SUCCEEDED)
		if d.GetStatus().GetAttempts() != 1 || len(d.GetAttempts()) != 1 {
			f.Errorf("%s has %d attempts: %v", name, d.GetStatus().GetAttempts(), d.GetAttempts())
		}
		if length := f.lengths[name]; d.GetStatus().GetDurationMs() < uint64(length.Milliseconds()) {
			f.Errorf("%s took %d ms, and was to sleep %s", name, d.GetStatus().GetDurationMs(), length)
		}
	}
	for i := range scripts {
		lines, err := os.ReadFile(filepath.Join(f.count, fmt.Sprintf("script-%d", i)))
		if err != nil || string(lines) != "executed\n" {
			f.Errorf("script-%d: executed %q (%v)", i, lines, err)
		}
	}
	if found := b.listed("family"); len(found) != len(f.children)+1 {
		f.Errorf("%d actions are listed, want %d", len(found), len(f.children)+1)
	}
	wantPhase(f, b.details("family", "a0"), common.ActionPhase_ACTION_PHASE_RUNNING)
	_, err := b.runs.AbortRun(f.Context(), &workflow.AbortRunRequest{RunId: runID("family")})
	wantOK(f, "abort the run", err)
	wantPhase(f, b.await("family", "a0"), common.ActionPhase_ACTION_PHASE_ABORTED)
}

// begun waits until the scripts have been executed once.
func (f *family) begun() {
	f.Helper()
	until(f, "the scripts run", func() bool {
		found, err := os.ReadDir(f.count)
		return err == nil && len(found) == scripts
	})
}

// A plane that is stopped and started again goes on where it was.
func TestStopAndStart(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	goOn := func(c *plane.Config) { c.EndAttempts = false }
	b := startOn(t, state, goOn)
	b.parent("family")
	f := newFamily(t, state)
	f.enqueue(func() clients { return b.clients }, func(int) {})
	f.begun()
	for range 2 {
		b.close()
		b = startOn(t, state, goOn)
	}
	f.check(b)
}

// Nothing that was acknowledged is lost and nothing is executed twice when the plane is killed, at any moment.
func TestKillAndStart(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	var mu sync.Mutex
	v := startVictim(t, state)
	now := func() clients {
		mu.Lock()
		defer mu.Unlock()
		return v.clients
	}
	_, err := v.runs.CreateRun(t.Context(), createRequest("family", sleepSpec(), sleepInputs(time.Hour)))
	wantOK(t, "create a run", err)
	f := newFamily(t, state)
	var restarts sync.WaitGroup
	kill := make(chan int, 8)
	restarts.Go(func() {
		for range kill {
			v.kill()
			next := startVictim(t, state)
			mu.Lock()
			v = next
			mu.Unlock()
		}
	})
	f.enqueue(now, func(n int) {
		switch n {
		case 20, 90, sleeps + echoes + 2:
			kill <- n
		}
	})
	kill <- 0 // once more, with everything under way
	close(kill)
	restarts.Wait()
	f.begun()
	v.kill()
	f.check(startOn(t, state))
}

// A thousand timers of all lengths: each ends, none early.
func TestThousandSleeps(t *testing.T) {
	b := start(t)
	b.parent("held")
	const count = 1000
	w := b.watch(project, "held")
	w.sentinel()
	work := make(chan *actions.EnqueueRequest)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for request := range work {
				if _, err := b.actions.Enqueue(t.Context(), request); err != nil {
					t.Errorf("enqueue: %v", err)
				}
			}
		})
	}
	lengths := map[string]time.Duration{}
	for i := range count {
		name := fmt.Sprintf("sleep-%d", i)
		lengths[name] = time.Millisecond + time.Duration(i)*1999*time.Millisecond/(count-1)
		work <- b.child("held", name, lengths[name])
	}
	close(work)
	all.Wait()
	for name := range lengths {
		w.until(name, common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	}
	for name, action := range b.listed("held") {
		status := action.GetStatus()
		if name == "a0" {
			continue
		}
		if got := status.GetEndTime().AsTime().Sub(status.GetStartTime().AsTime()); got < lengths[name].Truncate(time.Microsecond) || status.GetAttempts() != 1 {
			t.Errorf("%s slept %s of %s, in %d attempts", name, got, lengths[name], status.GetAttempts())
		}
	}
}
