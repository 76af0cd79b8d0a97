package plane

import (
	"context"
	"fmt"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// obey carries out a command of the control plane. Doing it twice is doing it once.
func (p *Plane) obey(ctx context.Context, command *linkv1.Command) error {
	switch order := command.GetOrder().(type) {
	case *linkv1.Command_AbortRun:
		run, err := runOf(order.AbortRun.GetRun())
		if err != nil {
			return err
		}
		_, err = p.shell.Do(ctx, engine.AbortRun{Run: run, Reason: "aborted through the control plane", By: order.AbortRun.GetBy()}, nil)
		return err
	case *linkv1.Command_StopRun:
		return p.stopRun(ctx, order.StopRun)
	case *linkv1.Command_Drain:
		return p.shell.Drain(ctx, !order.Drain.GetUndo())
	default:
		return fault.New(fault.KindUnsupported, "this version of the data plane does not know the order")
	}
}

func runOf(id *linkv1.RunID) (names.Run, error) {
	return names.NewRun(id.GetProject(), id.GetDomain(), id.GetName())
}

// stopRun ends the plane's lease on a run. One that has ended stays as it is; of one that moved nothing more is reported, so that is the
// first thing to be done.
func (p *Plane) stopRun(ctx context.Context, stop *linkv1.StopRun) error {
	run, err := runOf(stop.GetRun())
	if err != nil {
		return err
	}
	abort := engine.AbortRun{Run: run}
	switch stop.GetReason() {
	case linkv1.StopReason_STOP_REASON_MOVED:
		over, err := p.journal.Fence(ctx, run, stop.GetEpoch())
		if err != nil || !over {
			return err
		}
		abort.Code, abort.Reason = engine.CodeLeaseLost, fmt.Sprintf("data plane %q goes on with the run, under a newer lease", stop.GetHolder())
	case linkv1.StopReason_STOP_REASON_NAME_CONFLICT:
		epoch, err := p.journal.Lease(ctx, run)
		if err != nil || epoch == 0 || epoch > stop.GetEpoch() {
			return err
		}
		abort.Code = engine.CodeNameConflict
		abort.Reason = fmt.Sprintf("data plane %q has an earlier run of the name %q; start this one again under another name", stop.GetHolder(), run.Name)
	default:
		return fault.New(fault.KindUnsupported, "this version of the data plane does not know the reason to stop run %q", run.Name)
	}
	_, err = p.shell.Do(ctx, abort, nil)
	if fault.Is(err, fault.KindNotFound) {
		return nil // it has ended
	}
	return err
}
