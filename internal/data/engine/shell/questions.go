package shell

import (
	"context"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// lookUp fills in what the journal knows of names that are not in memory.
func (s *Shell) lookUp(ctx context.Context, batch []any) error {
	wanted := s.wanted(batch)
	if len(wanted.runs)+len(wanted.actions) == 0 {
		return nil
	}
	return s.journal.Read(ctx, func(tx store.Tx) error {
		for _, r := range wanted.runs {
			in := r.input.(engine.CreateRun)
			var err error
			if in.Known, err = s.journal.KnownRun(tx, in.Run.Name); err != nil {
				return err
			}
			r.input = in
		}
		known := map[names.Action]engine.Phase{}
		for run, actions := range wanted.actions {
			err := s.journal.PhasesOf(tx, run.ID, actions, func(action string, phase engine.Phase) {
				known[names.Action{Run: run.Name, Action: action}] = phase
			})
			if err != nil {
				return err
			}
		}
		for _, r := range wanted.children {
			in := r.input.(engine.Enqueue)
			in.Known = engine.Known{
				Action: known[names.Action{Run: in.Run, Action: in.Spec.Name}], Parent: known[names.Action{Run: in.Run, Action: in.Spec.Parent}],
			}
			r.input = in
		}
		return nil
	})
}

// questions to the journal.
type questions struct {
	runs     []*request               // that make a run
	children []*request               // that make a child and have a name in actions
	actions  map[*engine.Run][]string // children and parents that are not in memory and may have ended
}

func (s *Shell) wanted(batch []any) (q questions) {
	for _, item := range batch {
		r, ok := item.(*request)
		if !ok {
			continue
		}
		switch in := r.input.(type) {
		case engine.CreateRun:
			q.runs = append(q.runs, r)
		case engine.Enqueue:
			run := s.state.FindRun(in.Run)
			if run == nil {
				continue
			}
			asks := false
			for _, name := range [2]string{in.Spec.Name, in.Spec.Parent} {
				if s.state.Find(names.Action{Run: in.Run, Action: name}) == nil && s.finished.perhaps(run.ID, name) {
					if q.actions == nil {
						q.actions = map[*engine.Run][]string{}
					}
					q.actions[run] = append(q.actions[run], name)
					asks = true
				}
			}
			if asks {
				q.children = append(q.children, r)
			}
		}
	}
	return q
}
