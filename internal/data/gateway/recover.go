package gateway

import (
	"context"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// recovery is what a run takes over from another: every action that succeeded there, by name.
type recovery struct {
	from   names.Run
	forced map[string]bool // actions that are executed in any case
}

// recoveryOf is nil for a run that takes nothing over.
func recoveryOf(spec *task.RunSpec) (*recovery, error) {
	if spec.GetRelation().GetRelationType() != common.RelationType_RELATION_TYPE_RECOVER {
		return nil, nil
	}
	related := spec.GetRelation().GetRelatedTo()
	from, err := names.NewRun(related.GetProject(), related.GetDomain(), related.GetName())
	if err != nil {
		return nil, fault.Invalid("run_spec.relation.related_to", "%v", err)
	}
	r := &recovery{from: from, forced: map[string]bool{}}
	for _, name := range spec.GetRecover().GetForceRerunActions() {
		r.forced[name] = true
	}
	return r, nil
}

// recoverFrom makes the run one that takes over from another, when its request says so. That one must exist: otherwise
// everything would be executed, which is what the user wants to avoid.
func (g *Gateway) recoverFrom(ctx context.Context, d *draft, run *engine.Run, root *engine.ActionSpec) error {
	r, err := recoveryOf(d.runSpec)
	if err != nil || r == nil {
		return err
	}
	if _, err := g.Journal.Run(ctx, r.from); err != nil {
		return err
	}
	run.RecoverFrom, run.ForceRerun = &r.from, r.forced
	root.Replay, err = g.replay(ctx, r, root.Name, root.OutputBase)
	return err
}

// replay finds the traces that the code of an action will ask for. The SDK looks for a trace among the children that exist and
// runs its function when it finds none, so they must be there before the code starts. They keep the outputs of the run that
// made them.
func (g *Gateway) replay(ctx context.Context, r *recovery, parent, base string) ([]engine.ActionSpec, error) {
	rows, err := g.Journal.RecoverableTraces(ctx, r.from, parent)
	if err != nil {
		return nil, err
	}
	var specs []engine.ActionSpec
	for _, row := range rows {
		if r.forced[row.Name] {
			continue
		}
		from := &engine.Pointer{Run: journal.RunText(r.from), Action: row.Name, Attempt: row.Attempt, OutputURI: row.OutputURI}
		specs = append(specs, engine.ActionSpec{
			Name: row.Name, Parent: parent, Kind: engine.KindTrace, Group: row.Group, InputURI: row.InputURI, OutputBase: base, Detail: row.Detail,
			Trace: &engine.TraceEnd{Phase: engine.PhaseRecovered, OutputURI: row.OutputURI, From: from},
		})
	}
	return specs, nil
}
