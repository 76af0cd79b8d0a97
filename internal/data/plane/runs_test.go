package plane_test

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
)

// The same request again is the same run; the same name for something else is refused, and what the first one was given
// stays as it is.
func TestCreateRunTwice(t *testing.T) {
	b := start(t)
	request := createRequest("twice", echoSpec(), echoInputs("first"))
	b.create(request)
	first := b.await("twice", "a0")
	wantPhase(t, first, common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	before := b.snapshot()

	again, err := b.runs.CreateRun(t.Context(), proto.CloneOf(request))
	wantOK(t, "the same request", err)
	if got, want := again.GetRun().GetAction().GetStatus(), first.GetStatus(); !proto.Equal(got, want) {
		t.Errorf("the same request found the run as %v, not as %v", got, want)
	}
	_, err = b.runs.CreateRun(t.Context(), createRequest("twice", echoSpec(), echoInputs("second")))
	wantCode(t, err, connect.CodeAlreadyExists, `run "twice" exists already`, "choose another name")
	_, err = b.runs.CreateRun(t.Context(), createRequest("twice", sleepSpec(), sleepInputs(time.Hour)))
	wantCode(t, err, connect.CodeAlreadyExists)
	b.unchanged(before, "a run of another content")

	data, err := b.data.GetActionData(t.Context(), &dataproxy.GetActionDataRequest{ActionId: actionID("twice", "a0")})
	wantOK(t, "read the data of the run", err)
	for what, got := range map[string]string{
		"input":  data.GetInputs().GetLiterals()[0].GetValue().GetScalar().GetPrimitive().GetStringValue(),
		"output": data.GetOutputs().GetLiterals()[0].GetValue().GetScalar().GetPrimitive().GetStringValue(),
	} {
		if got != "first" {
			t.Errorf("the %s of the run is %q now", what, got)
		}
	}
	b.close()
	b = startOn(t, b.state) // which has forgotten what it did not write down
	if again, err = b.runs.CreateRun(t.Context(), request); err != nil || !proto.Equal(again.GetRun().GetAction().GetStatus(), first.GetStatus()) {
		t.Errorf("after a restart the same request found the run as %v (%v)", again, err)
	}
	_, err = b.runs.CreateRun(t.Context(), createRequest("twice", echoSpec(), echoInputs("second")))
	wantCode(t, err, connect.CodeAlreadyExists, `run "twice" exists already`)
	if runs, err := b.runs.ListRuns(t.Context(), &workflow.ListRunsRequest{ScopeBy: &workflow.ListRunsRequest_ProjectId{ProjectId: projectID()}}); err != nil || len(runs.GetRuns()) != 1 {
		t.Errorf("there are %d runs (%v)", len(runs.GetRuns()), err)
	}
}

// Of requests for one name that arrive together, those with the content of the first are the same run, and the others are refused.
func TestCreateRunAtOnce(t *testing.T) {
	b := start(t)
	const callers = 40
	accepted := make(chan string, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			value := strconv.Itoa(i % 4)
			if _, err := b.runs.CreateRun(t.Context(), createRequest("one", echoSpec(), echoInputs(value))); err == nil {
				accepted <- value
			} else {
				wantCode(t, err, connect.CodeAlreadyExists, `run "one" exists already`)
			}
		})
	}
	all.Wait()
	close(accepted)
	data, err := b.data.GetActionData(t.Context(), &dataproxy.GetActionDataRequest{ActionId: actionID("one", "a0")})
	wantOK(t, "read the data of the run", err)
	holds := data.GetInputs().GetLiterals()[0].GetValue().GetScalar().GetPrimitive().GetStringValue()
	count := 0
	for value := range accepted {
		if count++; value != holds {
			t.Errorf("%q was accepted, the run has %q", value, holds)
		}
	}
	if count != callers/4 {
		t.Errorf("%d requests of %d with the run's content were accepted", count, callers/4)
	}
	wantPhase(t, b.await("one", "a0"), common.ActionPhase_ACTION_PHASE_SUCCEEDED)
}

// A run that has ended stays as it ended, whatever is asked of it afterwards.
func TestAbortAfterTheEnd(t *testing.T) {
	b := start(t)
	b.create(createRequest("succeeded", sleepSpec(), sleepInputs(0)))
	b.create(b.unreadable("failed"))
	slow := sleepSpec()
	slow.TaskTemplate.Metadata.Timeout = durationpb.New(time.Millisecond)
	b.create(createRequest("timed-out", slow, sleepInputs(time.Hour)))
	b.parent("aborted")
	_, err := b.runs.AbortRun(t.Context(), &workflow.AbortRunRequest{RunId: runID("aborted"), Reason: proto.String("the first reason")})
	wantOK(t, "abort a running run", err)

	for run, phase := range map[string]common.ActionPhase{
		"succeeded": common.ActionPhase_ACTION_PHASE_SUCCEEDED, "failed": common.ActionPhase_ACTION_PHASE_FAILED,
		"timed-out": common.ActionPhase_ACTION_PHASE_TIMED_OUT, "aborted": common.ActionPhase_ACTION_PHASE_ABORTED,
	} {
		ended := b.await(run, "a0")
		wantPhase(t, ended, phase)
		before := b.snapshot()
		_, err := b.runs.AbortRun(t.Context(), &workflow.AbortRunRequest{RunId: runID(run), Reason: proto.String("too late")})
		if err != nil {
			wantCode(t, err, connect.CodeFailedPrecondition, "ended")
		}
		_, err = b.runs.AbortAction(t.Context(), &workflow.AbortActionRequest{ActionId: actionID(run, "a0"), Reason: "too late"})
		wantCode(t, err, connect.CodeFailedPrecondition, "ended")
		if now := b.details(run, "a0"); !proto.Equal(now, ended) {
			t.Errorf("an abort changed the run %s from %v to %v", run, ended, now)
		}
		b.unchanged(before, "an abort of a run that is "+run)
	}
}

// unreadable asks for a run that fails: its inputs are gone.
func (b *bench) unreadable(name string) *workflow.CreateRunRequest {
	b.Helper()
	uri := b.upload(echoSpec(), echoInputs("gone "+name))
	if err := os.Remove(filepath.FromSlash(uri)); err != nil {
		b.Fatal(err)
	}
	request := createRequest(name, echoSpec(), nil)
	request.InputWrapper = &workflow.CreateRunRequest_OffloadedInputData{OffloadedInputData: &common.OffloadedInputData{Uri: uri}}
	return request
}
