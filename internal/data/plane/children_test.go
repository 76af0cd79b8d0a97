package plane_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	projectpb "biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
)

// A child belongs to a running action of its own run; for any other it is refused and leaves nothing.
func TestEnqueueWhereNothingRuns(t *testing.T) {
	b := start(t)
	b.parent("held")
	b.enqueue(b.child("held", "over", 0))
	b.await("held", "over")
	b.enqueue(b.condition("held", "gate"))
	b.create(createRequest("ended", sleepSpec(), sleepInputs(0)))
	b.await("ended", "a0")
	b.parent("aborted")
	_, err := b.runs.AbortRun(t.Context(), &workflow.AbortRunRequest{RunId: runID("aborted")})
	wantOK(t, "abort", err)
	b.await("aborted", "a0")
	below := func(parent string) *actions.EnqueueRequest {
		request := b.child("held", "late", 0)
		request.Action.ParentActionName = &parent
		return request
	}
	elsewhere := b.child("held", "late", 0)
	elsewhere.Action.ActionId.Run.Project = "nowhere"
	ofAnother := b.child("held", "late", 0)
	ofAnother.Action.InputUri = b.child("ended", "late", 0).GetAction().GetInputUri()
	late := []*actions.EnqueueRequest{b.child("ended", "late", 0), b.child("aborted", "late", 0), b.child("never", "late", 0)}
	before := b.snapshot()
	for _, test := range []struct {
		what    string
		request *actions.EnqueueRequest
		code    connect.Code
		words   string
	}{
		{"below a child that has ended", below("over"), connect.CodeAborted, `parent action "over" of run "held" has ended`},
		{"in a run that has ended", late[0], connect.CodeAborted, `run "ended"`},
		{"in a run that was aborted", late[1], connect.CodeAborted, `run "aborted"`},
		{"in a run that never was", late[2], connect.CodeNotFound, `run "never" does not exist`},
		{"in a project that never was", elsewhere, connect.CodeNotFound, "does not exist"},
		{"below a parent that never was", below("nobody"), connect.CodeNotFound, `parent action "nobody" does not exist`},
		{"below a condition", below("gate"), connect.CodeFailedPrecondition, "is not a task"},
		{"with inputs of another run", ofAnother, connect.CodeInvalidArgument, "must lie below the run's base"},
	} {
		_, err := b.actions.Enqueue(t.Context(), test.request)
		wantCode(t, err, test.code, test.words)
		b.unchanged(before, "an action "+test.what)
	}
}

// One name is one action, however often and at whatever moment it is asked for.
func TestEnqueueOneNameAThousandTimes(t *testing.T) {
	b := start(t)
	b.parent("held")
	request := b.child("held", "one", time.Millisecond)
	const callers, calls = 50, 20
	codes := make(chan connect.Code, callers*calls)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range calls {
				_, err := b.actions.Enqueue(t.Context(), proto.CloneOf(request))
				if err == nil {
					codes <- 0
				} else {
					codes <- connect.CodeOf(err)
				}
			}
		})
	}
	all.Wait()
	close(codes)
	count := map[connect.Code]int{}
	for code := range codes {
		count[code]++
	}
	if count[0] != 1 || count[connect.CodeAlreadyExists] != callers*calls-1 {
		t.Errorf("answers by code: %v", count)
	}
	d := b.await("held", "one")
	wantPhase(t, d, common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	if d.GetStatus().GetAttempts() != 1 || len(d.GetAttempts()) != 1 {
		t.Errorf("it was executed %d times: %v", len(d.GetAttempts()), d.GetAttempts())
	}
	if found := b.listed("held"); len(found) != 2 {
		t.Errorf("the run has %d actions, want its root and one child", len(found))
	}
	_, err := b.actions.Enqueue(t.Context(), request)
	wantCode(t, err, connect.CodeAlreadyExists, `action "one" exists already in run "held"`)
}

// A signal is for a condition that waits, and of the type that it waits for.
func TestSignals(t *testing.T) {
	b := start(t)
	b.parent("held")
	b.enqueue(b.condition("held", "signalled"))
	b.enqueue(b.condition("held", "waiting"))
	late := b.condition("held", "timed-out")
	late.GetAction().GetCondition().Timeout = durationpb.New(time.Millisecond)
	b.enqueue(late)
	b.enqueue(b.child("held", "task", time.Hour))
	_, err := b.actions.Signal(t.Context(), signal("held", "signalled", "first"))
	wantOK(t, "signal", err)
	wantPhase(t, b.await("held", "signalled"), common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	wantPhase(t, b.await("held", "timed-out"), common.ActionPhase_ACTION_PHASE_TIMED_OUT)
	typed := func(p *core.Primitive) *actions.SignalRequest {
		return &actions.SignalRequest{ActionId: actionID("held", "waiting"), Value: literal(p)}
	}
	wrongParent := signal("held", "waiting", "x")
	wrongParent.ParentActionName = "task"
	before := b.snapshot()
	for _, test := range []struct {
		what    string
		request *actions.SignalRequest
		code    connect.Code
		words   []string
	}{
		{"a second time", signal("held", "signalled", "second"), connect.CodeFailedPrecondition, []string{`condition "signalled" has ended already`, "SUCCEEDED"}},
		{"the same once more", signal("held", "signalled", "first"), connect.CodeFailedPrecondition, []string{"has ended already"}},
		{"too late", signal("held", "timed-out", "x"), connect.CodeFailedPrecondition, []string{"has ended already", "TIMED_OUT"}},
		{"to a task", signal("held", "task", "x"), connect.CodeFailedPrecondition, []string{"is not a condition"}},
		{"to nothing", signal("held", "nothing", "x"), connect.CodeNotFound, []string{"does not exist"}},
		{"in no run", signal("never", "waiting", "x"), connect.CodeNotFound, []string{`run "never" does not exist`}},
		{"an integer", typed(&core.Primitive{Value: &core.Primitive_Integer{Integer: 1}}), connect.CodeInvalidArgument, []string{"takes a value of type string, got integer"}},
		{"a boolean", typed(&core.Primitive{Value: &core.Primitive_Boolean{Boolean: true}}), connect.CodeInvalidArgument, []string{"type string, got boolean"}},
		{"an empty value", typed(&core.Primitive{}), connect.CodeInvalidArgument, []string{"type string"}},
		{"no value", &actions.SignalRequest{ActionId: actionID("held", "waiting")}, connect.CodeInvalidArgument, []string{"type string"}},
		{"by another parent", wrongParent, connect.CodeInvalidArgument, []string{"parent_action_name", `is "a0"`}},
	} {
		_, err := b.actions.Signal(t.Context(), test.request)
		wantCode(t, err, test.code, test.words...)
		b.unchanged(before, "a signal "+test.what)
	}
	_, err = b.runs.SignalEvent(t.Context(), &workflow.SignalEventRequest{
		ActionId: actionID("held", "waiting"), Payload: &workflow.EventPayload{Value: &workflow.EventPayload_IntValue{IntValue: 1}},
	})
	wantCode(t, err, connect.CodeInvalidArgument, "type string, got integer")
	_, err = b.runs.SignalEvent(t.Context(), &workflow.SignalEventRequest{
		ActionId: actionID("held", "signalled"), Payload: &workflow.EventPayload{Value: &workflow.EventPayload_StringValue{StringValue: "late"}},
	})
	wantCode(t, err, connect.CodeFailedPrecondition, "has ended already")
	b.unchanged(before, "a signal of a client's")
	wantPhase(t, b.details("held", "waiting"), common.ActionPhase_ACTION_PHASE_PAUSED)
	_, err = b.actions.Signal(t.Context(), signal("held", "waiting", "right"))
	wantOK(t, "the right signal", err)
}

// Signals that arrive together: one is the value, the others learn that they came too late.
func TestSignalsAtOnce(t *testing.T) {
	b := start(t)
	b.parent("held")
	b.enqueue(b.condition("held", "gate"))
	const callers = 50
	won := make(chan string, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			value := fmt.Sprint(i)
			if _, err := b.actions.Signal(t.Context(), signal("held", "gate", value)); err == nil {
				won <- value
			} else {
				wantCode(t, err, connect.CodeFailedPrecondition, "has ended already")
			}
		})
	}
	all.Wait()
	close(won)
	winner, more := <-won, len(won)
	if more != 0 {
		t.Errorf("%d more signals were accepted", more)
	}
	w := b.watch(project, "held")
	if got := w.state("gate").GetValue().GetScalar().GetPrimitive().GetStringValue(); got != winner {
		t.Errorf("the value is %q, and %q was accepted", got, winner)
	}
}

// Two runs of one name, in two projects: neither sees, ends or signals anything of the other's.
func TestOneNameInTwoProjects(t *testing.T) {
	b := start(t)
	const other = "another"
	_, err := b.projects.CreateProject(t.Context(), &projectpb.CreateProjectRequest{Project: &projectpb.Project{Id: other}})
	wantOK(t, "create a project", err)
	here := createRequest("same", sleepSpec(), sleepInputs(time.Hour))
	there := proto.CloneOf(here)
	there.GetRunId().Project = other
	b.create(here)
	b.create(there)
	watchHere, watchThere := b.watch(project, "same"), b.watch(other, "same")
	watchHere.sentinel()
	watchThere.sentinel()

	b.enqueue(b.child("same", "mine", time.Millisecond))
	b.enqueue(b.condition("same", "both"))
	foreign := b.condition("same", "both")
	foreign.Action.ActionId.Run.Project = other
	base := b.runBase("same")
	foreign.Action.RunOutputBase = replaceProject(base, other)
	foreign.Action.InputUri = foreign.Action.RunOutputBase + "/both/inputs.pb"
	b.enqueue(foreign)
	value := signal("same", "both", "for the other")
	value.ActionId.Run.Project = other
	_, err = b.actions.Signal(t.Context(), value)
	wantOK(t, "signal the other run's condition", err)

	watchThere.until("both", common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	watchHere.until("mine", common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	watchHere.until("both", common.ActionPhase_ACTION_PHASE_PAUSED)
	id := runID("same")
	id.Project = other
	_, err = b.runs.AbortRun(t.Context(), &workflow.AbortRunRequest{RunId: id})
	wantOK(t, "abort the other run", err)
	b.enqueue(b.child("same", "after", 0)) // this one goes on
	watchHere.until("after", common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	if phase := b.details("same", "both").GetStatus().GetPhase(); phase != common.ActionPhase_ACTION_PHASE_PAUSED {
		t.Errorf("a signal and an abort of the other run's made this one's condition %s", phase)
	}
	for _, w := range []*watcher{watchHere, watchThere} {
		for _, seen := range w.log {
			if got := seen.GetActionId().GetRun().GetProject(); got != w.project {
				t.Errorf("a watcher in %s was told %s of %s", w.project, seen.GetActionId().GetName(), got)
			}
		}
	}
	if watchThere.states["mine"] != nil || watchThere.states["after"] != nil {
		t.Errorf("the other run has children that it was not given: %v", watchThere.states)
	}
}
