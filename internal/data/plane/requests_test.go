package plane_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
)

// Where the tests run: projects and a domain that a new plane has or is given.
const (
	project = "flytesnacks"
	domain  = "development"
)

func runID(name string) *common.RunIdentifier {
	return &common.RunIdentifier{Org: "ignored", Project: project, Domain: domain, Name: name}
}

func actionID(run, name string) *common.ActionIdentifier {
	return &common.ActionIdentifier{Run: runID(run), Name: name}
}

func projectID() *common.ProjectIdentifier {
	return &common.ProjectIdentifier{Name: project, Domain: domain}
}

// sleepSpec is the task that sleeps as long as its input says: a timer, no process.
func sleepSpec() *task.TaskSpec {
	return builtinSpec("nap", "core-sleep", variable("duration", core.SimpleType_DURATION), nil)
}

// echoSpec is the task that returns its input.
func echoSpec() *task.TaskSpec {
	x := variable("x", core.SimpleType_STRING)
	return builtinSpec("echo", "echo", x, x)
}

func builtinSpec(name, kind string, input, output *core.VariableEntry) *task.TaskSpec {
	i := &core.TypedInterface{Inputs: &core.VariableMap{Variables: []*core.VariableEntry{input}}}
	if output != nil {
		i.Outputs = &core.VariableMap{Variables: []*core.VariableEntry{output}}
	}
	return &task.TaskSpec{ShortName: name, TaskTemplate: &core.TaskTemplate{
		Id:   &core.Identifier{ResourceType: core.ResourceType_TASK, Project: project, Domain: domain, Name: name, Version: "1"},
		Type: kind, Metadata: &core.TaskMetadata{}, Interface: i,
	}}
}

func variable(name string, kind core.SimpleType) *core.VariableEntry {
	return &core.VariableEntry{Key: name, Value: &core.Variable{Type: simple(kind)}}
}

func simple(kind core.SimpleType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_Simple{Simple: kind}}
}

func literal(p *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: p}}}}
}

func text(value string) *core.Literal {
	return literal(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: value}})
}

func sleepInputs(length time.Duration) *task.Inputs {
	value := literal(&core.Primitive{Value: &core.Primitive_Duration{Duration: durationpb.New(length)}})
	return &task.Inputs{Literals: []*task.NamedLiteral{{Name: "duration", Value: value}}}
}

func echoInputs(value string) *task.Inputs {
	return &task.Inputs{Literals: []*task.NamedLiteral{{Name: "x", Value: text(value)}}}
}

func createRequest(name string, spec *task.TaskSpec, inputs *task.Inputs) *workflow.CreateRunRequest {
	return &workflow.CreateRunRequest{
		Id:           &workflow.CreateRunRequest_RunId{RunId: runID(name)},
		Task:         &workflow.CreateRunRequest_TaskSpec{TaskSpec: spec},
		InputWrapper: &workflow.CreateRunRequest_Inputs{Inputs: inputs},
	}
}

// create makes a run that must be accepted.
func (b *bench) create(request *workflow.CreateRunRequest) {
	b.Helper()
	if _, err := b.runs.CreateRun(b.Context(), request); err != nil {
		b.Fatalf("create run %s: %v", request.GetRunId().GetName(), err)
	}
}

// parent makes a run whose root sleeps for an hour: an action that runs and may have children, without a process.
func (b *bench) parent(run string) {
	b.Helper()
	b.create(createRequest(run, sleepSpec(), sleepInputs(time.Hour)))
}

// upload stores inputs and returns their address.
func (b *bench) upload(spec *task.TaskSpec, inputs *task.Inputs) string {
	b.Helper()
	response, err := b.data.UploadInputs(b.Context(), &dataproxy.UploadInputsRequest{
		Id:     &dataproxy.UploadInputsRequest_ProjectId{ProjectId: projectID()},
		Task:   &dataproxy.UploadInputsRequest_TaskSpec{TaskSpec: spec},
		Inputs: inputs,
	})
	if err != nil {
		b.Fatalf("upload inputs: %v", err)
	}
	return response.GetOffloadedInputData().GetUri()
}

// runBase is the folder of a run's inputs and outputs.
func (b *bench) runBase(run string) string {
	return filepath.Join(b.state, "bucket", "objects", "runs", project, domain, run)
}

// child asks for a child of a run's root that sleeps. Its inputs are where the code of a task would have put them.
func (b *bench) child(run, name string, length time.Duration) *actions.EnqueueRequest {
	b.Helper()
	raw, err := proto.Marshal(sleepInputs(length))
	wantOK(b, "encode inputs", err)
	uri := filepath.Join(b.runBase(run), name, "inputs.pb")
	wantOK(b, "make the folder of a child", os.MkdirAll(filepath.Dir(uri), 0o700))
	wantOK(b, "write the inputs of a child", os.WriteFile(uri, raw, 0o600))
	return childOf(actionID(run, name), uri, b.runBase(run))
}

func childOf(id *common.ActionIdentifier, uri, base string) *actions.EnqueueRequest {
	parent := "a0"
	return &actions.EnqueueRequest{Action: &actions.Action{
		ActionId: id, ParentActionName: &parent, InputUri: uri, RunOutputBase: base,
		Spec: &actions.Action_Task{Task: &workflow.TaskAction{Spec: sleepSpec()}},
	}}
}

// condition asks for a child of a run's root that waits for a string.
func (b *bench) condition(run, name string) *actions.EnqueueRequest {
	parent, base := "a0", b.runBase(run)
	return &actions.EnqueueRequest{Action: &actions.Action{
		ActionId: actionID(run, name), ParentActionName: &parent, InputUri: base + "/inputs.pb", RunOutputBase: base,
		Spec: &actions.Action_Condition{Condition: &workflow.ConditionAction{Name: name, Type: simple(core.SimpleType_STRING)}},
	}}
}

// signal gives a condition a string.
func signal(run, name, value string) *actions.SignalRequest {
	return &actions.SignalRequest{ActionId: actionID(run, name), Value: text(value)}
}

func (b *bench) enqueue(request *actions.EnqueueRequest) {
	b.Helper()
	if _, err := b.actions.Enqueue(b.Context(), request); err != nil {
		b.Fatalf("enqueue %s: %v", request.GetAction().GetActionId().GetName(), err)
	}
}

// details is all that the plane tells of an action.
func (b *bench) details(run, action string) *workflow.ActionDetails {
	b.Helper()
	response, err := b.runs.GetActionDetails(b.Context(), &workflow.GetActionDetailsRequest{ActionId: actionID(run, action)})
	if err != nil {
		b.Fatalf("details of %s of %s: %v", action, run, err)
	}
	return response.GetDetails()
}

// await waits for the end of an action.
func (b *bench) await(run, action string) *workflow.ActionDetails {
	b.Helper()
	stream, err := b.runs.WatchActionDetails(b.Context(), &workflow.WatchActionDetailsRequest{ActionId: actionID(run, action)})
	if err != nil {
		b.Fatalf("watch %s of %s: %v", action, run, err)
	}
	defer stream.Close()
	stuck := time.AfterFunc(patience, func() { _ = stream.Close() })
	defer stuck.Stop()
	var last *workflow.ActionDetails
	for stream.Receive() {
		if last = stream.Msg().GetDetails(); last.GetStatus().GetEndTime() != nil {
			return last
		}
	}
	b.Fatalf("the watch of %s of %s ended with %v before the action, which is %s", action, run, stream.Err(), last.GetStatus().GetPhase())
	return nil
}

// listed is every action of a run as the list shows it, page by page, by name.
func (b *bench) listed(run string) map[string]*workflow.Action {
	b.Helper()
	found := map[string]*workflow.Action{}
	for token := ""; ; {
		page, err := b.runs.ListActions(b.Context(), &workflow.ListActionsRequest{RunId: runID(run), Request: &common.ListRequest{Limit: 1000, Token: token}})
		if err != nil {
			b.Fatalf("list actions of %s: %v", run, err)
		}
		for _, a := range page.GetActions() {
			if found[a.GetId().GetName()] != nil {
				b.Fatalf("action %s of %s is listed twice", a.GetId().GetName(), run)
			}
			found[a.GetId().GetName()] = a
		}
		if token = page.GetToken(); token == "" {
			return found
		}
	}
}

// wantPhase compares the phase of an action's details.
func wantPhase(t testing.TB, d *workflow.ActionDetails, want common.ActionPhase) {
	t.Helper()
	if got := d.GetStatus().GetPhase(); got != want {
		t.Errorf("%s is %s, want %s: %v", d.GetId().GetName(), got, want, d.GetResult())
	}
}

// wantCode compares the code of an answer and looks for words in its text.
func wantCode(t testing.TB, err error, code connect.Code, words ...string) {
	t.Helper()
	if connect.CodeOf(err) != code || err == nil {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	wantWords(t, err.Error(), words...)
}

func wantWords(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q does not say %q", text, word)
		}
	}
}

func wantOK(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", what, err))
	}
}
