package controller

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
)

// Task is one of the tasks that the plane carries out itself.
type Task int

// The tasks.
const (
	Nap  Task = iota // core-sleep: ends after the duration that is its input
	Echo             // gives its input back: the plane reads and writes a file for it
)

// spec is the specification as the SDK writes it: about 700 bytes, most of them the arguments of a container that is never
// started.
func (t Task) spec() *task.TaskSpec {
	if t == Echo {
		return spec("bench.echo", "echo", &core.TypedInterface{Inputs: variables(), Outputs: variables()})
	}
	return spec("bench.nap", "core-sleep", &core.TypedInterface{Inputs: variables(), Outputs: &core.VariableMap{}})
}

func variables() *core.VariableMap {
	duration := &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_DURATION}}
	return &core.VariableMap{Variables: []*core.VariableEntry{{Key: input, Value: &core.Variable{Type: duration}}}}
}

// input is the name of the one input.
const input = "length"

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

func inputs(length time.Duration) *task.Inputs {
	primitive := &core.Primitive{Value: &core.Primitive_Duration{Duration: durationpb.New(length)}}
	scalar := &core.Scalar{Value: &core.Scalar_Primitive{Primitive: primitive}}
	return &task.Inputs{Literals: []*task.NamedLiteral{{Name: input, Value: &core.Literal{Value: &core.Literal_Scalar{Scalar: scalar}}}}}
}
