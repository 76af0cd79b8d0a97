package plane_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/internal/data/plane"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/linktest"
	"biplane.dev/biplane/internal/link/linktest/localca"
	"biplane.dev/biplane/internal/names"
)

// control is the other end of the link: it orders, and remembers what it is told.
type control struct {
	server *link.Server
	reach  func(*plane.Config) // makes a plane dial here

	mu      sync.Mutex
	ordered []*linkv1.Command
	applied int64
	cursor  int64
	health  *linkv1.Health
	runs    map[string]*linkv1.RunState
	actions map[string]*linkv1.ActionState // by "run/action"
}

// startLinked starts a plane that is linked to a control of this test.
func startLinked(t *testing.T) (*bench, *control) {
	t.Helper()
	t.Parallel()
	root := t.TempDir()
	ca, err := localca.Open(filepath.Join(root, "ca"))
	wantOK(t, "make an authority", err)
	wantOK(t, "make a certificate", ca.Server(filepath.Join(root, "control"), "127.0.0.1"))
	wantOK(t, "make a certificate", ca.Plane(filepath.Join(root, "plane"), link.Plane{Org: names.Org, Name: "here"}))
	c := &control{runs: map[string]*linkv1.RunState{}, actions: map[string]*linkv1.ActionState{}}
	c.server = link.NewServer(c, linktest.Circle{}, 100*time.Millisecond, slog.New(slog.DiscardHandler))
	address := linktest.Serve(t, c.server, filepath.Join(root, "control"))
	c.reach = func(settings *plane.Config) { settings.Control, settings.TLS = address, filepath.Join(root, "plane") }
	return startOn(t, filepath.Join(root, "state"), c.reach), c
}

func (c *control) Hello(_ context.Context, _ link.Plane, hello *linkv1.Hello) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health = hello.GetHealth()
	return c.cursor, nil
}

func (c *control) Apply(_ context.Context, _ link.Plane, events *linkv1.Events) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events.GetEvents() {
		switch {
		case e.GetRun() != nil:
			c.runs[e.GetRun().GetId().GetName()] = e.GetRun()
		case e.GetAction() != nil:
			id := e.GetAction().GetId()
			c.actions[id.GetRun().GetName()+"/"+id.GetName()] = e.GetAction()
		}
	}
	c.cursor = events.GetThrough()
	return c.cursor, nil
}

func (c *control) Heard(_ context.Context, _ link.Plane, health *linkv1.Health) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health = health
	return nil
}

func (c *control) Gone(link.Plane) {}

func (c *control) Commands(_ context.Context, _ link.Plane, after int64, limit int) (waiting []*linkv1.Command, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, command := range c.ordered {
		if command.GetSeq() > after && len(waiting) < limit {
			waiting = append(waiting, command)
		}
	}
	return waiting, nil
}

func (c *control) CommandsApplied(_ context.Context, _ link.Plane, cursor int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = cursor
	return nil
}

// order sends a command and waits until it is applied.
func (c *control) order(t *testing.T, command *linkv1.Command) {
	t.Helper()
	c.mu.Lock()
	command.Seq = int64(len(c.ordered) + 1)
	c.ordered = append(c.ordered, command)
	c.mu.Unlock()
	c.server.Wake(link.Plane{Org: names.Org, Name: "here"})
	until(t, "the command is applied", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.applied == command.GetSeq()
	})
}

func (c *control) stopRun(t *testing.T, run string, epoch int64, reason linkv1.StopReason) {
	t.Helper()
	id := &linkv1.RunID{Org: names.Org, Project: project, Domain: domain, Name: run}
	c.order(t, &linkv1.Command{Order: &linkv1.Command_StopRun{StopRun: &linkv1.StopRun{Run: id, Epoch: epoch, Reason: reason, Holder: "there"}}})
}

func (c *control) drain(t *testing.T, undo bool) {
	t.Helper()
	c.order(t, &linkv1.Command{Order: &linkv1.Command_Drain{Drain: &linkv1.Drain{Undo: undo}}})
}

func (c *control) run(name string) *linkv1.RunState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[name]
}

func (c *control) action(name string) *linkv1.ActionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.actions[name]
}

func (c *control) hear() *linkv1.Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health
}

// awaitLoad waits for a heartbeat that says so.
func (c *control) awaitLoad(t *testing.T, what string, holds func(*linkv1.Health) bool) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last heartbeat: %v", c.hear())
		}
	})
	until(t, what, func() bool { return holds(c.hear()) })
}

// busyRun makes a run with a child whose process goes on until it is stopped, and with one that waits.
func busyRun(b *bench, c *control, name string) {
	b.Helper()
	b.parent(name)
	script := b.child(name, "script", 0)
	script.GetAction().GetTask().Spec = scriptSpec("echo running; while :; do sleep 0.05; done")
	b.enqueue(script)
	b.enqueue(b.condition(name, "gate"))
	until(b, "the script's state is told", func() bool {
		return c.action(name+"/script").GetPhase() == linkv1.Phase_PHASE_RUNNING && c.run(name).GetPhase() == linkv1.Phase_PHASE_RUNNING
	})
}

// scriptMillis is what a script takes of the machine.
const scriptMillis = 100

const (
	moved    = linkv1.StopReason_STOP_REASON_MOVED
	conflict = linkv1.StopReason_STOP_REASON_NAME_CONFLICT
)

// A run is born leased to its plane, under 1, and everything that is told of it says so.
func TestARunIsBornLeased(t *testing.T) {
	b, c := startLinked(t)
	busyRun(b, c, "born")
	r, a := c.run("born"), c.action("born/script")
	if r.GetEpoch() != 1 || a.GetEpoch() != 1 || a.GetRunCreatedUs() != r.GetCreatedUs() || r.GetCreatedUs() == 0 {
		t.Errorf("told of the run %v and the action %v", r, a)
	}
}

// What another plane goes on with ends here without a word: its processes go, its slots come free, nothing more is told.
func TestAFencedRunEndsWithoutAWord(t *testing.T) {
	b, c := startLinked(t)
	busyRun(b, c, "fenced")
	busyRun(b, c, "other")
	c.awaitLoad(t, "both scripts hold a slot", func(h *linkv1.Health) bool {
		return h.GetAttemptsRunning() == 2 && h.GetCpuMillisUsed() == 2*scriptMillis
	})
	c.stopRun(t, "fenced", 1, moved)
	wantPhase(t, b.await("fenced", "script"), common.ActionPhase_ACTION_PHASE_ABORTED)
	root := b.await("fenced", "a0")
	wantPhase(t, root, common.ActionPhase_ACTION_PHASE_ABORTED)
	wantWords(t, root.String(), "LEASE_LOST", `data plane \"there\" goes on with the run`)
	c.awaitLoad(t, "the plane holds the other run alone", func(h *linkv1.Health) bool {
		return h.GetRunsActive() == 1 && h.GetAttemptsRunning() == 1 && h.GetCpuMillisUsed() == scriptMillis
	})

	// Everything up to a later change has been told: nothing of the end was.
	b.parent("later")
	until(t, "the later run is told", func() bool { return c.run("later").GetPhase() == linkv1.Phase_PHASE_RUNNING })
	for what, phase := range map[string]linkv1.Phase{
		"the run": c.run("fenced").GetPhase(), "its root": c.action("fenced/a0").GetPhase(), "its script": c.action("fenced/script").GetPhase(),
	} {
		if phase != linkv1.Phase_PHASE_RUNNING {
			t.Errorf("%s was told to be %s after its lease was over", what, phase)
		}
	}
	if c.run("other").GetPhase() != linkv1.Phase_PHASE_RUNNING {
		t.Errorf("the other run is %s", c.run("other").GetPhase())
	}

	// A stop that comes twice, for a run that is not there, or of an older lease, is none.
	c.stopRun(t, "fenced", 1, moved)
	c.stopRun(t, "nowhere", 1, moved)
	c.stopRun(t, "other", 0, moved)
	c.stopRun(t, "other", 0, conflict)
	c.stopRun(t, "nowhere", 1, conflict)
	if c.run("other").GetPhase() != linkv1.Phase_PHASE_RUNNING {
		t.Errorf("the other run is %s", c.run("other").GetPhase())
	}

	// It stays silent in the plane's next life.
	b.close()
	c.mu.Lock()
	c.cursor, c.runs, c.actions = 0, map[string]*linkv1.RunState{}, map[string]*linkv1.ActionState{} // a ledger that was lost
	c.mu.Unlock()
	b = startOn(t, b.state, c.reach)
	until(t, "the runs are told again", func() bool { return c.run("later") != nil && c.run("other") != nil })
	b.parent("last")
	until(t, "the last run is told", func() bool { return c.run("last") != nil })
	if r := c.run("fenced"); r != nil {
		t.Errorf("told of the fenced run: %v", r)
	}
}

// A run that ended before the plane heard that it is another's is fenced all the same: its end is nobody's result.
func TestAFencedRunThatHasEnded(t *testing.T) {
	b, c := startLinked(t)
	b.create(createRequest("quick", echoSpec(), echoInputs("x")))
	wantPhase(t, b.await("quick", "a0"), common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	until(t, "its end is told", func() bool { return c.run("quick").GetPhase() == linkv1.Phase_PHASE_SUCCEEDED })
	c.stopRun(t, "quick", 1, moved)
	wantPhase(t, b.details("quick", "a0"), common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	c.mu.Lock()
	c.cursor, c.runs = 0, map[string]*linkv1.RunState{}
	c.mu.Unlock()
	c.server.Cut(link.Plane{Org: names.Org, Name: "here"})
	b.parent("later")
	until(t, "the later run is told", func() bool { return c.run("later") != nil })
	if r := c.run("quick"); r != nil {
		t.Errorf("told of the fenced run: %v", r)
	}
}

// The later of two runs of one name ends with a reason that says so, and that is told.
func TestTheLaterRunOfANameEnds(t *testing.T) {
	b, c := startLinked(t)
	busyRun(b, c, "mine")
	c.stopRun(t, "mine", 1, conflict)
	root := b.await("mine", "a0")
	wantPhase(t, root, common.ActionPhase_ACTION_PHASE_ABORTED)
	wantWords(t, root.String(), "NAME_CONFLICT", `data plane \"there\" has an earlier run of the name \"mine\"`, "under another name")
	until(t, "its end is told", func() bool {
		r := c.run("mine")
		return r.GetPhase() == linkv1.Phase_PHASE_ABORTED && r.GetErrorCode() == "NAME_CONFLICT"
	})
	wantWords(t, b.await("mine", "script").String(), "has an earlier run of the name")
	c.awaitLoad(t, "the plane holds nothing", func(h *linkv1.Health) bool { return h.GetRunsActive() == 0 && h.GetCpuMillisUsed() == 0 })
}

// A plane that drains takes no new runs, goes on with those it has, and says when it has none.
func TestDrain(t *testing.T) {
	b, c := startLinked(t)
	busyRun(b, c, "has")
	c.drain(t, false)
	_, err := b.runs.CreateRun(t.Context(), createRequest("new", echoSpec(), echoInputs("x")))
	wantCode(t, err, connect.CodeFailedPrecondition, "draining", "--undo")
	b.create(createRequest("has", sleepSpec(), sleepInputs(time.Hour))) // the same request again is the same run
	b.enqueue(b.child("has", "more", 0))
	wantPhase(t, b.await("has", "more"), common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	c.awaitLoad(t, "the plane drains and has a run", func(h *linkv1.Health) bool { return h.GetDraining() && h.GetRunsActive() == 1 })

	b.close()
	b = startOn(t, b.state, c.reach)
	_, err = b.runs.CreateRun(t.Context(), createRequest("new", echoSpec(), echoInputs("x")))
	wantCode(t, err, connect.CodeFailedPrecondition, "draining")
	c.order(t, &linkv1.Command{Order: &linkv1.Command_AbortRun{AbortRun: &linkv1.AbortRun{Run: c.run("has").GetId(), By: "me"}}})
	c.awaitLoad(t, "the plane drains and has no run", func(h *linkv1.Health) bool { return h.GetDraining() && h.GetRunsActive() == 0 })

	c.drain(t, true)
	b.create(createRequest("new", echoSpec(), echoInputs("x")))
	wantPhase(t, b.await("new", "a0"), common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	c.awaitLoad(t, "the plane says that it does not drain", func(h *linkv1.Health) bool { return !h.GetDraining() })
}
