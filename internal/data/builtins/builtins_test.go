package builtins_test

import (
	"bytes"
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/builtins"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/launch"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/names"
)

func text(value string) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{
		Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: value}},
	}}}}
}

// The SDK names inputs as the function does and outputs by number, and does not keep an order in the inputs of a run.
func TestEcho(t *testing.T) {
	t.Parallel()
	bucket, err := objects.OpenFile(t.TempDir(), objects.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	put := func(message proto.Message, segments ...string) string {
		raw, err := proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		key, err := objects.NewKey(segments...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Put(t.Context(), key, bytes.NewReader(raw), objects.PutOptions{Size: int64(len(raw))}); err != nil {
			t.Fatal(err)
		}
		return bucket.URI(key)
	}
	spec := &task.TaskSpec{TaskTemplate: &core.TaskTemplate{Type: "echo", Interface: &core.TypedInterface{
		Inputs:  &core.VariableMap{Variables: []*core.VariableEntry{{Key: "b"}, {Key: "a"}}},
		Outputs: &core.VariableMap{Variables: []*core.VariableEntry{{Key: "o0"}, {Key: "o1"}}},
	}}}
	ended := make(chan engine.Input, 2)
	runner := builtins.New(builtins.Config{
		Bucket: bucket, Tell: func(in engine.Input) { ended <- in }, MaxInputs: 1 << 20,
		Spec: func(context.Context, string) ([]byte, error) { return proto.Marshal(spec) },
	})
	run := func(name string, inputs *task.Inputs) engine.Outcome {
		id := names.Attempt{Number: 1}
		id.Action.Action = name
		runner.Start(engine.RunBuiltin{ID: id, Task: &engine.Task{Builtin: engine.BuiltinEcho}, InputURI: put(inputs, "in", name), OutputBase: bucket.URI("out")})
		return (<-ended).(engine.AttemptEnded).Outcome
	}

	outcome := run("whole", &task.Inputs{Literals: []*task.NamedLiteral{{Name: "a", Value: text("A")}, {Name: "b", Value: text("B")}}})
	if !outcome.OK {
		t.Fatal(outcome.Error)
	}
	raw, err := launch.Read(t.Context(), bucket, outcome.OutputURI+"/outputs.pb", -1)
	if err != nil {
		t.Fatal(err)
	}
	got := &task.Outputs{}
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	want := &task.Outputs{Literals: []*task.NamedLiteral{{Name: "o0", Value: text("B")}, {Name: "o1", Value: text("A")}}}
	if !proto.Equal(got, want) {
		t.Errorf("got %v", got)
	}

	if outcome := run("torn", &task.Inputs{Literals: []*task.NamedLiteral{{Name: "a", Value: text("A")}}}); outcome.OK || outcome.System {
		t.Errorf("an input is missing: %+v", outcome)
	}
}
