package plane_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
)

// watcher follows the children of a run's root, as the code of a parent does.
type watcher struct {
	*testing.T
	project string
	stream  *connect.ServerStreamForClient[actions.WatchForUpdatesResponse]
	cancel  context.CancelFunc
	states  map[string]*workflow.ActionUpdate // the last that was told, by name
	log     []*workflow.ActionUpdate
	live    bool // the sentinel has come
}

func (b *bench) watch(project, run string) *watcher {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	id := actionID(run, "a0")
	id.Run.Project = project
	stream, err := b.actions.WatchForUpdates(ctx, &actions.WatchForUpdatesRequest{Filter: &actions.WatchForUpdatesRequest_ParentActionId{ParentActionId: id}})
	wantOK(b, "watch", err)
	w := &watcher{T: b.T, project: project, stream: stream, cancel: cancel, states: map[string]*workflow.ActionUpdate{}}
	b.Cleanup(w.close)
	return w
}

func (w *watcher) close() {
	w.cancel()
	_ = w.stream.Close() // says that it was cancelled
}

// next takes one message.
func (w *watcher) next() {
	w.Helper()
	if !w.stream.Receive() {
		w.Fatalf("the watch ended: %v", w.stream.Err())
	}
	if w.stream.Msg().GetControlMessage().GetSentinel() {
		w.live = true
		return
	}
	update := w.stream.Msg().GetActionUpdate()
	name := update.GetActionId().GetName()
	if old := w.states[name]; old != nil && ended(old.GetPhase()) && update.GetPhase() != old.GetPhase() {
		w.Errorf("%s went from %s to %s", name, old.GetPhase(), update.GetPhase())
	}
	w.states[name], w.log = update, append(w.log, update)
}

func ended(phase common.ActionPhase) bool {
	return phase >= common.ActionPhase_ACTION_PHASE_SUCCEEDED && phase <= common.ActionPhase_ACTION_PHASE_TIMED_OUT
}

// sentinel reads up to the end of the snapshot.
func (w *watcher) sentinel() {
	w.Helper()
	for !w.live {
		w.next()
	}
}

// until reads until an action is in a phase.
func (w *watcher) until(action string, phase common.ActionPhase) {
	w.Helper()
	for w.states[action].GetPhase() != phase {
		w.next()
	}
}

// state reads the snapshot, and returns what it says of an action.
func (w *watcher) state(action string) *workflow.ActionUpdate {
	w.Helper()
	w.sentinel()
	return w.states[action]
}

func replaceProject(base, other string) string {
	return strings.Replace(base, "/"+project+"/", "/"+other+"/", 1)
}

// Who watches again is told all there is, ended children too, then that this was all, then what changes.
func TestWatchAgain(t *testing.T) {
	b := start(t)
	b.parent("held")
	first := b.watch(project, "held")
	first.sentinel()
	if len(first.states) != 0 {
		t.Errorf("a run without children has %v", first.states)
	}
	b.enqueue(b.child("held", "over", 0))
	b.enqueue(b.child("held", "sleeping", time.Hour))
	b.enqueue(b.condition("held", "gate"))
	first.until("over", common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	first.until("gate", common.ActionPhase_ACTION_PHASE_PAUSED)
	first.close()

	_, err := b.actions.Signal(t.Context(), signal("held", "gate", "while nobody watched"))
	wantOK(t, "signal", err)
	second := b.watch(project, "held")
	second.sentinel()
	want := map[string]common.ActionPhase{
		"over": common.ActionPhase_ACTION_PHASE_SUCCEEDED, "sleeping": common.ActionPhase_ACTION_PHASE_RUNNING, "gate": common.ActionPhase_ACTION_PHASE_SUCCEEDED,
	}
	if len(second.log) != len(want) {
		t.Errorf("the snapshot has %d messages for %d children", len(second.log), len(want))
	}
	for name, phase := range want {
		if got := second.states[name].GetPhase(); got != phase {
			t.Errorf("the snapshot says that %s is %s, want %s", name, got, phase)
		}
	}
	if second.states["over"].GetOutputUri() == "" {
		t.Error("the snapshot does not say where the outputs are")
	}
	if got := second.states["gate"].GetValue().GetScalar().GetPrimitive().GetStringValue(); got != "while nobody watched" {
		t.Errorf("the snapshot says that the condition's value is %q", got)
	}
	_, err = b.actions.Abort(t.Context(), &actions.AbortRequest{ActionId: actionID("held", "sleeping")})
	wantOK(t, "abort a child", err)
	second.until("sleeping", common.ActionPhase_ACTION_PHASE_ABORTED)

	_, err = b.runs.AbortRun(t.Context(), &workflow.AbortRunRequest{RunId: runID("held")})
	wantOK(t, "abort", err)
	b.await("held", "a0")
	after := b.watch(project, "held") // of a parent that has ended
	after.sentinel()
	if len(after.states) != len(want) {
		t.Errorf("%d children are left of %d", len(after.states), len(want))
	}
}

// A child that ended before its parent asked for it a second time is told once more: the parent may have missed it.
func TestEndedChildIsToldAgain(t *testing.T) {
	b := start(t)
	b.parent("held")
	w := b.watch(project, "held")
	w.sentinel()
	request := b.child("held", "over", 0)
	b.enqueue(request)
	w.until("over", common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	told := len(w.log)
	_, err := b.actions.Enqueue(t.Context(), request)
	wantCode(t, err, connect.CodeAlreadyExists)
	for len(w.log) == told {
		w.next()
	}
	if last := w.log[len(w.log)-1]; last.GetActionId().GetName() != "over" || last.GetPhase() != common.ActionPhase_ACTION_PHASE_SUCCEEDED {
		t.Errorf("told %v", last)
	}
}
