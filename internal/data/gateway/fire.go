package gateway

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/data/taskspec"
	"biplane.dev/biplane/internal/fault"
)

// kickoffKey in the context of a run's inputs names the input that the SDK's runtime fills with the run's start time
// (flyte/_internal/runtime/convert.py).
const kickoffKey = "_u_kickoff_time_input_arg"

// Fire makes the run of a trigger for a time. The run's name stands for both, so a second fire is the same run.
func (g *Gateway) Fire(ctx context.Context, fire schedule.Fire) error {
	if err := g.Names.Accepts(ctx, fire.Run.Project); err != nil {
		return err
	}
	spec, _, err := g.Names.Task(ctx, fire.Task)
	if err != nil {
		return err
	}
	if err := taskspec.Check("task", spec); err != nil {
		return err
	}
	runSpec := &task.RunSpec{}
	if fire.RunSpec != nil {
		runSpec = proto.CloneOf(fire.RunSpec)
	}
	runSpec.RunStartTime = timestamppb.New(fire.At)
	runSpec.TaskSpecSource = task.TaskSpecSource_TASK_SPEC_SOURCE_DEPLOYED
	d := &draft{
		run: fire.Run, spec: spec, task: fire.Task, runSpec: runSpec, source: workflow.RunSource_RUN_SOURCE_SCHEDULE_TRIGGER,
		trigger: fire.Trigger, inputs: fire.Offloaded, digest: "fire/" + fire.Run.Name,
	}
	if d.inputs != nil {
		if err := g.checkInputs(d, d.inputs.GetUri()); err != nil {
			return err
		}
	} else if d.parcel, d.inputs, err = g.pack(fire.Run.Project, spec, kickoffInputs(fire)); err != nil {
		return err
	}
	ignored := spec.GetTaskTemplate().GetMetadata().GetCacheIgnoreInputVars()
	if fire.KickoffArg != "" && !slices.Contains(ignored, fire.KickoffArg) {
		// The time is an input that the stored inputs do not hold yet.
		d.inputs = proto.CloneOf(d.inputs)
		d.inputs.InputsHash += "/" + strconv.FormatInt(fire.At.UnixMicro(), 10)
	}
	_, err = g.create(ctx, d)
	if errors.Is(err, engine.ErrDraining) { // the time is made up for when the plane takes runs again
		return &fault.Fault{Kind: fault.KindUnavailable, Message: err.Error(), Cause: err}
	}
	return err
}

func kickoffInputs(fire schedule.Fire) *task.Inputs {
	inputs := &task.Inputs{}
	if fire.Inputs != nil {
		inputs = proto.CloneOf(fire.Inputs)
	}
	named := func(pair *core.KeyValuePair) bool { return pair.GetKey() == kickoffKey }
	if fire.KickoffArg != "" && !slices.ContainsFunc(inputs.GetContext(), named) {
		inputs.Context = append(inputs.Context, &core.KeyValuePair{Key: kickoffKey, Value: fire.KickoffArg})
	}
	return inputs
}
