package controller

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
)

// Sleep is the specification of a core-sleep task as the SDK writes it: about 700 bytes, most of them the arguments
// of a container that is never started.
func Sleep() *task.TaskSpec {
	return spec("bench.nap", "core-sleep", &core.TypedInterface{
		Inputs:  &core.VariableMap{Variables: []*core.VariableEntry{variable("length", core.SimpleType_DURATION)}},
		Outputs: &core.VariableMap{},
	})
}

// Echo is the specification of a task that gives back its input.
func Echo() *task.TaskSpec {
	return spec("bench.echo", "echo", &core.TypedInterface{
		Inputs:  &core.VariableMap{Variables: []*core.VariableEntry{variable("x", core.SimpleType_INTEGER)}},
		Outputs: &core.VariableMap{Variables: []*core.VariableEntry{variable("x", core.SimpleType_INTEGER)}},
	})
}

func variable(name string, simple core.SimpleType) *core.VariableEntry {
	return &core.VariableEntry{Key: name, Value: &core.Variable{Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: simple}}}}
}

func spec(name, kind string, signature *core.TypedInterface) *task.TaskSpec {
	return &task.TaskSpec{
		ShortName: name, Environment: &task.Environment{Name: "bench"},
		TaskTemplate: &core.TaskTemplate{
			Id: &core.Identifier{
				ResourceType: core.ResourceType_TASK, Project: project, Domain: domain, Name: name, Version: "f400c45b45ac62972fc138de8b30c75e",
			},
			Type: kind,
			Metadata: &core.TaskMetadata{
				Runtime: &core.RuntimeMetadata{Type: core.RuntimeMetadata_FLYTE_SDK, Version: "2.12.1", Flavor: "python"},
				Retries: &core.RetryStrategy{}, DiscoveryVersion: "f400c45b45ac62972fc138de8b30c75eac5845a2411c238eb9cab45285cd791b",
			},
			Interface: signature,
			Target: &core.TaskTemplate_Container{Container: &core.Container{
				Image: "ghcr.io/flyteorg/flyte:py3.11-v2.12.1",
				Args: []string{
					"a0", "--inputs", "{{.input}}", "--outputs-path", "{{.outputPrefix}}", "--version", "f400c45b45ac62972fc138de8b30c75e",
					"--raw-data-path", "{{.rawOutputDataPrefix}}", "--checkpoint-path", "{{.checkpointOutputPrefix}}",
					"--prev-checkpoint", "{{.prevCheckpointPrefix}}", "--run-name", "{{.runName}}", "--name", "{{.actionName}}",
					"--run-start-time", "{{.runStartTime}}", "--tgz", "/a/bucket/uploads/flytesnacks/development/fast/bundle.tar.gz", "--dest", ".",
					"--resolver", "flyte._internal.resolvers.default.DefaultTaskResolver", "mod", "bench", "instance", "nap",
				},
			}},
		},
	}
}

func sleepInputs(length time.Duration) *task.Inputs {
	return inputs("length", &core.Primitive{Value: &core.Primitive_Duration{Duration: durationpb.New(length)}})
}

func echoInputs(x int64) *task.Inputs {
	return inputs("x", &core.Primitive{Value: &core.Primitive_Integer{Integer: x}})
}

func inputs(name string, value *core.Primitive) *task.Inputs {
	scalar := &core.Scalar{Value: &core.Scalar_Primitive{Primitive: value}}
	return &task.Inputs{Literals: []*task.NamedLiteral{{Name: name, Value: &core.Literal{Value: &core.Literal_Scalar{Scalar: scalar}}}}}
}
