package journal

import (
	"context"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/internal/data/listing"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// runList is what a list of runs can be filtered and sorted by.
var runList = &listing.List{
	Fields: map[string]listing.Field{
		"phase":        {SQL: "phase", Kind: listing.Number, Enum: common.ActionPhase_value, EnumPrefix: "ACTION_PHASE_"},
		"name":         {SQL: "name"},
		"run_name":     {SQL: "name"},
		"task_name":    {SQL: "task_name"},
		"task_version": {SQL: "task_version"},
		"trigger_name": {SQL: "trigger_name"},
		"created_by":   {SQL: "created_by"},
		"created_at":   {SQL: "created_at", Kind: listing.Time},
		"start_time":   {SQL: "created_at", Kind: listing.Time},
		"updated_at":   {SQL: "updated_at", Kind: listing.Time},
		"end_time":     {SQL: "ended_at", Kind: listing.Time},
	},
	Maps: map[string]listing.Map{"labels": {SQL: "(SELECT value FROM run_labels l WHERE l.run_id = runs.id AND l.key = ?)"}},
	Sort: "created_at",
	Tie:  []string{"id"},
}

// actionList is what a list of a run's actions can be filtered and sorted by.
var actionList = &listing.List{
	Fields: map[string]listing.Field{
		"phase":       {SQL: "phase", Kind: listing.Number, Enum: common.ActionPhase_value, EnumPrefix: "ACTION_PHASE_"},
		"name":        {SQL: "name"},
		"parent_name": {SQL: "parent"},
		"action_type": {SQL: "kind", Kind: listing.Number},
		"task_name":   {SQL: "task_name"},
		"group":       {SQL: "grp"},
		"attempts":    {SQL: "attempt", Kind: listing.Number},
		"created_at":  {SQL: "created_at", Kind: listing.Time},
		"start_time":  {SQL: "created_at", Kind: listing.Time},
		"updated_at":  {SQL: "updated_at", Kind: listing.Time},
		"end_time":    {SQL: "ended_at", Kind: listing.Time},
	},
	Sort:      "created_at",
	Ascending: true,
	Tie:       []string{"name"},
}

// RunScope says which runs a list is about; empty fields do not restrict.
type RunScope struct {
	Project     names.Project
	Task        string
	Version     string
	TriggerTask string
	Trigger     string
	PausedOnly  bool // runs with a condition that waits
}

func (s RunScope) where() (where string, args []any) {
	where, args = "org = ?", []any{names.Org}
	and := func(clause string, values ...any) { where, args = where+" AND "+clause, append(args, values...) }
	if s.Project.Project != "" {
		and("project = ? AND domain = ?", s.Project.Project, s.Project.Domain)
	}
	if s.Task != "" {
		and("task_name = ?", s.Task)
	}
	if s.Version != "" {
		and("task_version = ?", s.Version)
	}
	if s.Trigger != "" {
		and("trigger_task = ? AND trigger_name = ?", s.TriggerTask, s.Trigger)
	}
	if s.PausedOnly {
		and("open = 1 AND EXISTS (SELECT 1 FROM actions a WHERE a.run_id = runs.id AND a.phase = 9)")
	}
	return where, args
}

// ListRuns returns a page of runs and the token of the next.
func (j *Journal) ListRuns(ctx context.Context, scope RunScope, request *common.ListRequest) (runs []*RunInfo, token string, err error) {
	query, err := runList.New(request)
	if err != nil {
		return nil, "", err
	}
	where, args := scope.where()
	err = j.db.Read(ctx, func(tx store.Tx) error {
		token, err = query.Page(tx, runColumns, "runs", where, args, func(scan func(dest ...any) error) error {
			run := &RunInfo{}
			runs = append(runs, run)
			return scan(run.fields()...)
		})
		if err != nil {
			return err
		}
		for _, run := range runs {
			if err := labels(tx, run); err != nil {
				return err
			}
		}
		return nil
	})
	return runs, token, err
}

// ListActions returns a page of a run's actions and the token of the next.
func (j *Journal) ListActions(ctx context.Context, runID int64, request *common.ListRequest) (found []*Row, token string, err error) {
	query, err := actionList.New(request)
	if err != nil {
		return nil, "", err
	}
	err = j.db.Read(ctx, func(tx store.Tx) error {
		token, err = query.Page(tx, actionColumns, "actions", "run_id = ?", []any{runID}, func(scan func(dest ...any) error) error {
			row := &Row{}
			found = append(found, row)
			return scan(row.fields()...)
		})
		return err
	})
	return found, token, err
}

// RunsAfter returns up to limit runs in scope that changed after seq, in the order of their change.
func (j *Journal) RunsAfter(ctx context.Context, scope RunScope, seq int64, limit int) (runs []*RunInfo, err error) {
	where, args := scope.where()
	err = j.db.Read(ctx, func(tx store.Tx) error {
		runs, err = queryRuns(tx, where+" AND seq > ? ORDER BY seq LIMIT ?", append(args, seq, limit)...)
		if err != nil {
			return err
		}
		for _, run := range runs {
			if err := labels(tx, run); err != nil {
				return err
			}
		}
		return nil
	})
	return runs, err
}

// ActionsAfter returns up to limit actions of a run that changed after seq, in the order of their change.
func (j *Journal) ActionsAfter(ctx context.Context, runID, seq int64, limit int) (found []*Row, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		found, err = queryActions(tx, `run_id = ? AND seq > ? ORDER BY seq LIMIT ?`, runID, seq, limit)
		return err
	})
	return found, err
}

// Ended says whether nothing of the run is unfinished.
func (j *Journal) Ended(ctx context.Context, runID int64) (ended bool, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		return tx.QueryRow(`SELECT open = 0 FROM runs WHERE id = ?`, runID).Scan(&ended)
	})
	return ended, err
}

// Seq is the newest committed number of the change sequence.
func (j *Journal) Seq() int64 { return j.db.Seq() }

// RunsNamed returns the runs of this name in all projects.
func (j *Journal) RunsNamed(ctx context.Context, name string) (runs []*RunInfo, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		runs, err = queryRuns(tx, `name = ? ORDER BY id LIMIT 10`, name)
		return err
	})
	return runs, err
}
