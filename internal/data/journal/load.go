package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// OpenRun is a run that was not finished when the plane ended.
type OpenRun struct {
	Run     *engine.Run
	Actions []*engine.Action // not finished; parents first
}

// Load reads every unfinished run. task makes the engine's facts of a specification.
func (j *Journal) Load(ctx context.Context, task func(digest string, spec []byte) (*engine.Task, error)) (open []OpenRun, nextRunID int64, err error) {
	tasks := map[string]*engine.Task{}
	err = j.db.Read(ctx, func(tx store.Tx) error {
		if err := tx.QueryRow(`SELECT coalesce(max(id), 0) + 1 FROM runs`).Scan(&nextRunID); err != nil {
			return err
		}
		runs, err := loadRuns(tx)
		if err != nil {
			return err
		}
		for _, run := range runs {
			actions, digests, err := loadActions(tx, run)
			if err != nil {
				return err
			}
			for i, a := range actions {
				if a.Kind != engine.KindTask {
					continue
				}
				if tasks[digests[i]] == nil {
					var spec []byte
					if err := tx.QueryRow(`SELECT spec FROM action_specs WHERE digest = ?`, digests[i]).Scan(&spec); err != nil {
						return fmt.Errorf("specification %s of action %s: %w", digests[i], a.Name, err)
					}
					if tasks[digests[i]], err = task(digests[i], spec); err != nil {
						return fmt.Errorf("specification %s of action %s: %w", digests[i], a.Name, err)
					}
				}
				a.Task = tasks[digests[i]]
			}
			open = append(open, OpenRun{Run: run, Actions: actions})
		}
		return nil
	})
	return open, nextRunID, err
}

func loadRuns(tx store.Tx) (runs []*engine.Run, err error) {
	rows, err := tx.Query(`SELECT id, org, project, domain, name, digest, facts, aborting, abort_reason, aborted_by, abort_code, created_at FROM runs WHERE open = 1 ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		run := &engine.Run{}
		var text string
		if err := rows.Scan(&run.ID, &run.Name.Org, &run.Name.Project.Project, &run.Name.Domain, &run.Name.Name, &run.Digest, &text,
			&run.Aborting, &run.AbortReason, &run.AbortedBy, &run.AbortCode, &run.Created); err != nil {
			return nil, err
		}
		var known facts
		if err := json.Unmarshal([]byte(text), &known); err != nil {
			return nil, fmt.Errorf("facts of run %s: %w", run.Name.Name, err)
		}
		run.MaxConcurrency, run.OverwriteCache, run.GlobalCache, run.ForceRerun = known.MaxConcurrency, known.OverwriteCache, known.GlobalCache, known.ForceRerun
		if known.RecoverFrom != "" {
			from, err := ParseRun(known.RecoverFrom)
			if err != nil {
				return nil, err
			}
			run.RecoverFrom = &from
		}
		runs = append(runs, run)
	}
	return runs, rows.Err()
}

// RunText names a run as rows do: "project/domain/run".
func RunText(run names.Run) string { return run.Project.Project + "/" + run.Domain + "/" + run.Name }

// ParseRun reads "project/domain/run".
func ParseRun(text string) (names.Run, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return names.Run{}, fmt.Errorf("%q is not project/domain/run", text)
	}
	return names.NewRun(parts[0], parts[1], parts[2])
}

func loadActions(tx store.Tx, run *engine.Run) (actions []*engine.Action, digests []string, err error) {
	rows, err := tx.Query(`SELECT `+actionColumns+` FROM actions WHERE run_id = ? AND phase NOT IN (5, 6, 7, 8, 10) ORDER BY created_at, name`, run.ID)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		row := &Row{}
		if err := rows.Scan(row.fields()...); err != nil {
			return nil, nil, err
		}
		actions, digests = append(actions, row.action()), append(digests, row.Spec)
	}
	return actions, digests, rows.Err()
}

func (r *Row) action() *engine.Action {
	a := &engine.Action{
		Name: r.Name, ParentName: r.Parent, Kind: r.Kind, Group: r.Group, OutputBase: r.OutputBase,
		CacheKey: r.CacheKey, Queue: r.Queue, Sleep: time.Duration(r.SleepUS) * time.Microsecond, Timeout: time.Duration(r.TimeoutUS) * time.Microsecond,
		Detail: r.Detail, Value: r.Value, Phase: r.Phase, Wait: r.Wait, Attempt: r.Attempt, CacheStatus: r.CacheStatus,
		Created: r.Created, Queued: r.Queued, Initialized: r.Initialized, Started: r.Started, Ended: r.Ended, RetryAt: r.RetryAt,
		UserFailures: r.UserFailures, SystemFailures: r.SystemFailures, OutputURI: r.OutputURI, AbortReason: r.AbortReason, AbortedBy: r.AbortedBy,
		Stop: r.Stop,
	}
	a.SetInputURI(r.InputURI)
	if r.Error.Code != "" {
		failure := r.Error
		a.Error = &failure
	}
	return a
}

// KnownRun returns the digest of the request that made the run of this name; "" when there is none.
func (j *Journal) KnownRun(tx store.Tx, name names.Run) (digest string, err error) {
	err = tx.QueryRow(`SELECT digest FROM runs WHERE org = ? AND project = ? AND domain = ? AND name = ?`,
		name.Org, name.Project.Project, name.Domain, name.Name).Scan(&digest)
	if errors.Is(err, store.ErrNoRows) {
		return "", nil
	}
	return digest, err
}

// together is how many names one query of PhasesOf asks for when there are several.
const together = 32

var (
	phaseOfOne  = phasesQuery(1)
	phaseOfMany = phasesQuery(together)
)

func phasesQuery(n int) string {
	return `SELECT name, phase FROM actions WHERE run_id = ? AND name IN (?` + strings.Repeat(`, ?`, n-1) + `)`
}

// PhasesOf tells found the phase in the row of each of these actions of a run; of those that have no row it tells nothing.
func (j *Journal) PhasesOf(tx store.Tx, runID int64, actions []string, found func(action string, phase engine.Phase)) error {
	for len(actions) > 0 {
		query, n := phaseOfOne, 1
		if len(actions) > 2 {
			query, n = phaseOfMany, together
		}
		args := make([]any, 1, 1+n)
		args[0] = runID
		for i := range n {
			args = append(args, actions[min(i, len(actions)-1)]) // a place that is over asks for the last name again
		}
		if err := phases(tx, query, args, found); err != nil {
			return err
		}
		actions = actions[min(n, len(actions)):]
	}
	return nil
}

func phases(tx store.Tx, query string, args []any, found func(string, engine.Phase)) error {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var action string
		var phase engine.Phase
		if err := rows.Scan(&action, &phase); err != nil {
			return err
		}
		found(action, phase)
	}
	return rows.Err()
}

// Spec returns a task specification's bytes.
func (j *Journal) Spec(ctx context.Context, digest string) (spec []byte, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		return tx.QueryRow(`SELECT spec FROM action_specs WHERE digest = ?`, digest).Scan(&spec)
	})
	return spec, err
}
