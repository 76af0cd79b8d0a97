package launch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/taskspec"
	"biplane.dev/biplane/internal/fault"
)

// maxErrorDocument bounds what is read of error.pb; the SDK writes a traceback of a few KiB.
const maxErrorDocument = 4 << 20

// maxErrorText bounds what is kept of an error's message in the journal.
const maxErrorText = 64 << 10

// outcome decides how an attempt ended. What the task wrote last is what counts: a parent can die by a signal while its runtime
// shuts down, after its outputs are complete.
func (l *Launcher) outcome(ctx context.Context, e engine.StartAttempt, exit executor.Exit) engine.Outcome {
	o := engine.Outcome{At: engine.At(exit.Ended), Usage: engine.Usage{PeakMemory: exit.PeakMemory, CPU: exit.CPU}}
	folder := engine.OutputDir(e.OutputBase, e.ID.Action.Action, e.ID.Number)
	switch {
	case exit.BadCommand:
		o.Error = &engine.Error{Code: "NotStarted", Message: "the task cannot be started: " + exit.StartError, Kind: engine.ErrorUser}
		return o
	case exit.StartError != "":
		o.System = true
		o.Error = &engine.Error{Code: "StartFailed", Message: "the attempt could not be started: " + exit.StartError, Kind: engine.ErrorSystem, Recoverable: true}
		return o
	case exit.OutOfMemory:
		o.Error = &engine.Error{Code: "OOMKilled", Message: outOfMemory(exit), Kind: engine.ErrorUser, Recoverable: true}
		return o
	}
	reported, err := ReadError(ctx, l.config.Bucket, folder)
	if err != nil {
		return unreadable(o, folder, err)
	}
	if reported != nil {
		o.Error = reported
		o.System = o.Error.Kind == engine.ErrorSystem && o.Error.Recoverable
		return o
	}
	facts, err := l.task(ctx, e.Task.Digest)
	if err != nil {
		return unreadable(o, folder, err)
	}
	complete, err := l.outputsComplete(ctx, folder, facts.spec.GetTaskTemplate(), exit.Code == 0)
	switch {
	case err != nil:
		return unreadable(o, folder, err)
	case complete:
		o.OK, o.OutputURI = true, folder
	case exit.Lost:
		o.System = true
		o.Error = &engine.Error{Code: "Lost", Message: "the machine that ran the attempt was restarted before it ended", Kind: engine.ErrorSystem, Recoverable: true}
	case exit.Stopped: // the engine says why, if it was the engine that asked
		o.System = true
		o.Error = &engine.Error{Code: "Stopped", Message: "the attempt was stopped before it reported a result", Kind: engine.ErrorSystem, Recoverable: true}
	case exit.Signal != "":
		o.Error = &engine.Error{Code: "Interrupted", Message: fmt.Sprintf("the task's process was ended by %s before it reported a result", exit.Signal), Kind: engine.ErrorUser, Recoverable: true}
	case exit.Code != 0:
		o.Error = &engine.Error{Code: "ExitCode", Message: fmt.Sprintf("the task's process exited with code %d before it reported a result; see its log", exit.Code), Kind: engine.ErrorUser, Recoverable: true}
	default:
		o.Error = &engine.Error{Code: "MissingOutputs", Message: "the task's process exited with code 0 without writing its outputs; see its log", Kind: engine.ErrorUser, Recoverable: true}
	}
	return o
}

func outOfMemory(exit executor.Exit) string {
	text := "the task's processes used more memory than their limit; ask for more with flyte.Resources(memory=...)"
	if exit.PeakMemory > 0 {
		text += fmt.Sprintf(" (highest use seen: %d MiB)", exit.PeakMemory>>20)
	}
	return text
}

// unreadable: the plane could not find out; the attempt is made again at the plane's expense.
func unreadable(o engine.Outcome, folder string, err error) engine.Outcome {
	o.System = true
	o.Error = &engine.Error{Code: "OutcomeUnreadable", Message: fmt.Sprintf("the result below %s could not be read: %v", folder, err), Kind: engine.ErrorSystem, Recoverable: true}
	return o
}

// notStarted says whose fault it is that no process was made: a missing secret or an unknown image is the task's.
func notStarted(err error) engine.Outcome {
	o := engine.Outcome{At: engine.At(time.Now())}
	switch fault.KindOf(err) {
	case fault.KindInvalid, fault.KindNotFound, fault.KindPrecondition, fault.KindUnsupported, fault.KindDenied:
		o.Error = &engine.Error{Code: "NotStarted", Message: "the task cannot be started: " + err.Error(), Kind: engine.ErrorUser}
	default:
		o.System = true
		o.Error = &engine.Error{Code: "StartFailed", Message: "the attempt could not be started: " + err.Error(), Kind: engine.ErrorSystem, Recoverable: true}
	}
	return o
}

func fromDocument(document *core.ErrorDocument) *engine.Error {
	e := document.GetError()
	message := e.GetMessage()
	if len(message) > maxErrorText {
		message = strings.ToValidUTF8(message[:maxErrorText], "") + "… (cut)"
	}
	return &engine.Error{
		Code: e.GetCode(), Message: message, Kind: engine.ErrorKind(e.GetOrigin()), Recoverable: e.GetKind() == core.ContainerError_RECOVERABLE,
	}
}

// ReadError returns what the SDK wrote into error.pb of a folder; nil when there is none, or half of one, as a process leaves it
// that is killed while it writes.
func ReadError(ctx context.Context, bucket objects.Bucket, folder string) (*engine.Error, error) {
	raw, err := Read(ctx, bucket, folder+"/error.pb", maxErrorDocument)
	if fault.Is(err, fault.KindNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	document := &core.ErrorDocument{}
	if err := proto.Unmarshal(raw, document); err != nil || document.GetError() == nil {
		return nil, nil
	}
	return fromDocument(document), nil
}

// outputsComplete: outputs.pb is there and whole. A task without outputs need not write it, if it exited well.
func (l *Launcher) outputsComplete(ctx context.Context, folder string, template *core.TaskTemplate, exitedWell bool) (bool, error) {
	raw, err := Read(ctx, l.config.Bucket, folder+"/outputs.pb", -1)
	if fault.Is(err, fault.KindNotFound) {
		return exitedWell && !taskspec.HasOutputs(template), nil
	}
	if err != nil {
		return false, err
	}
	outputs := &task.Outputs{}
	if err := proto.Unmarshal(raw, outputs); err != nil {
		return false, nil // written half when the process was killed
	}
	return len(outputs.GetLiterals()) >= len(template.GetInterface().GetOutputs().GetVariables()), nil
}
