package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	planev1 "biplane.dev/biplane/gen/biplane/plane/v1"
	"biplane.dev/biplane/gen/biplane/plane/v1/planev1connect"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/engine/shell"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Operator is PlaneService: what an operator asks the plane itself.
type Operator struct {
	planev1connect.UnimplementedPlaneServiceHandler
	*Gateway
}

const maxExplained = 1000

// Explain says why the unfinished actions of a run do not run.
func (s Operator) Explain(ctx context.Context, request *planev1.ExplainRequest) (*planev1.ExplainResponse, error) {
	id, err := s.findRun(ctx, request)
	if err != nil {
		return nil, err
	}
	run, err := s.Journal.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	response := &planev1.ExplainResponse{RunPhase: run.Phase.String()}
	if request.GetAction() != "" {
		row, err := s.Journal.Action(ctx, run.ID, request.GetAction())
		if err != nil {
			return nil, err
		}
		if row.Phase.Terminal() {
			response.Actions = append(response.Actions, ended(row))
			return response, nil
		}
	}
	err = s.Shell.Inspect(ctx, func(state *engine.State, _ shell.Stats) {
		live := state.FindRun(id)
		if live == nil {
			return
		}
		live.Open(func(a *engine.Action) {
			if request.GetAction() == "" || request.GetAction() == a.Name {
				response.Actions = append(response.Actions, explain(state, a))
			}
		})
	})
	slices.SortFunc(response.Actions, func(a, b *planev1.Explanation) int {
		return cmp.Or(cmp.Compare(a.GetSinceUs(), b.GetSinceUs()), cmp.Compare(a.GetAction(), b.GetAction()))
	})
	if n := len(response.Actions); n > maxExplained {
		response.Actions, response.More = response.Actions[:maxExplained], int64(n-maxExplained)
	}
	return response, err
}

// findRun takes a run's full name, or its name alone when only one project has it.
func (s Operator) findRun(ctx context.Context, request *planev1.ExplainRequest) (names.Run, error) {
	if request.GetProject() != "" || request.GetDomain() != "" {
		return names.NewRun(request.GetProject(), request.GetDomain(), request.GetRun())
	}
	if err := names.CheckRun("run", request.GetRun()); err != nil {
		return names.Run{}, err
	}
	found, err := s.Journal.RunsNamed(ctx, request.GetRun())
	switch {
	case err != nil:
		return names.Run{}, err
	case len(found) == 0:
		return names.Run{}, fault.NotFound("run", request.GetRun())
	case len(found) > 1:
		return names.Run{}, fault.Invalid("run", "%d projects have a run %q; name the project and the domain", len(found), request.GetRun())
	}
	return found[0].Name, nil
}

func explain(state *engine.State, a *engine.Action) *planev1.Explanation {
	wait := state.Explain(a)
	e := &planev1.Explanation{
		Action: a.Name, Parent: a.ParentName, Phase: a.Phase.String(), Attempt: a.Attempt, Code: wait.String(), Reason: wait.Reason(),
		Next: wait.Next(), SinceUs: int64(max(a.Queued, a.Initialized, a.Started)),
	}
	if a.Task != nil {
		e.Task = a.Task.Name
		if wait == engine.WaitFit {
			e.Reason += ": " + a.Task.NoFit
		}
	}
	if wait == engine.WaitBackoff && a.RetryAt != 0 {
		e.Reason += fmt.Sprintf(" (until %s)", a.RetryAt.Clock().Format("15:04:05"))
	}
	return e
}

func ended(row *journal.Row) *planev1.Explanation {
	e := &planev1.Explanation{
		Action: row.Name, Parent: row.Parent, Task: row.TaskName, Phase: row.Phase.String(), Attempt: row.Attempt, Code: engine.WaitNone.String(),
		SinceUs: int64(row.Ended), Reason: "it has ended",
	}
	if row.Error.Code != "" {
		e.Reason += " with " + row.Error.Code
		e.Next = "see its error: flyte get action RUN " + row.Name
	}
	return e
}
