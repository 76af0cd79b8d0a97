package journal

import (
	"context"
	"errors"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// Row is an action as it is kept.
type Row struct {
	RunID          int64
	Name           string
	Parent         string
	Kind           engine.Kind
	Group          string
	Spec           string
	TaskName       string
	InputURI       string
	OutputBase     string
	CacheKey       string
	Queue          string
	SleepUS        int64
	TimeoutUS      int64
	Detail         []byte
	Created        engine.Time
	Phase          engine.Phase
	Wait           engine.Wait
	Attempt        uint32
	CacheStatus    engine.CacheStatus
	Queued         engine.Time
	Initialized    engine.Time
	Started        engine.Time
	Ended          engine.Time
	Updated        engine.Time
	RetryAt        engine.Time
	UserFailures   uint32
	SystemFailures uint32
	OutputURI      string
	Value          []byte
	Error          engine.Error
	From           engine.Pointer
	AbortReason    string
	AbortedBy      string
	Stop           engine.StopCause
	PeakMemory     int64
	CPUUS          int64
	Seq            int64
}

const actionColumns = `run_id, name, parent, kind, grp, spec, task_name, input_uri, output_base, cache_key, queue, sleep_us, timeout_us, detail,
	created_at, phase, wait, attempt, cache_status, queued_at, initialized_at, started_at, ended_at, updated_at, retry_at, user_failures,
	system_failures, output_uri, value, error_code, error_message, error_kind, recoverable, from_run, from_action, from_attempt,
	abort_reason, aborted_by, stop, peak_memory, cpu_us, seq`

func (r *Row) fields() []any {
	return []any{
		&r.RunID, &r.Name, &r.Parent, &r.Kind, &r.Group, &r.Spec, &r.TaskName, &r.InputURI, &r.OutputBase, &r.CacheKey, &r.Queue, &r.SleepUS,
		&r.TimeoutUS, &r.Detail, &r.Created, &r.Phase, &r.Wait, &r.Attempt, &r.CacheStatus, &r.Queued, &r.Initialized, &r.Started, &r.Ended,
		&r.Updated, &r.RetryAt, &r.UserFailures, &r.SystemFailures, &r.OutputURI, &r.Value, &r.Error.Code, &r.Error.Message, &r.Error.Kind,
		&r.Error.Recoverable, &r.From.Run, &r.From.Action, &r.From.Attempt, &r.AbortReason, &r.AbortedBy, &r.Stop, &r.PeakMemory, &r.CPUUS, &r.Seq,
	}
}

func queryActions(tx store.Tx, where string, args ...any) (found []*Row, err error) {
	rows, err := tx.Query(`SELECT `+actionColumns+` FROM actions WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := &Row{}
		if err := rows.Scan(r.fields()...); err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// Children returns up to limit children of parent whose rows changed after seq, in the order of their change.
func (j *Journal) Children(ctx context.Context, runID int64, parent string, seq int64, limit int) (found []*Row, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		found, err = queryActions(tx, `run_id = ? AND parent = ? AND seq > ? ORDER BY seq LIMIT ?`, runID, parent, seq, limit)
		return err
	})
	return found, err
}

// Action returns an action's row, or a fault of KindNotFound.
func (j *Journal) Action(ctx context.Context, runID int64, name string) (row *Row, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		row, err = readAction(tx, runID, name)
		return err
	})
	return row, err
}

func readAction(tx store.Tx, runID int64, name string) (*Row, error) {
	found, err := queryActions(tx, `run_id = ? AND name = ?`, runID, name)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fault.NotFound("action", name)
	}
	return found[0], nil
}

// RunInfo is a run as it is kept.
type RunInfo struct {
	ID   int64
	Name names.Run
	RunRow
	Digest      string
	Aborting    bool
	AbortReason string
	AbortedBy   string
	Created     engine.Time
	Phase       engine.Phase
	Attempt     uint32
	Started     engine.Time
	Ended       engine.Time
	Updated     engine.Time
	Seq         int64
}

const runColumns = `id, org, project, domain, name, digest, run_spec, source, task_project, task_domain, task_name, task_version,
	trigger_task, trigger_name, related_to, relation, created_by, aborting, abort_reason, aborted_by, created_at, phase, attempt,
	started_at, ended_at, updated_at, seq`

func (r *RunInfo) fields() []any {
	return []any{
		&r.ID, &r.Name.Org, &r.Name.Project.Project, &r.Name.Domain, &r.Name.Name, &r.Digest, &r.RunSpec, &r.Source, &r.TaskProject, &r.TaskDomain,
		&r.TaskName, &r.TaskVersion, &r.TriggerTask, &r.TriggerName, &r.RelatedTo, &r.Relation, &r.CreatedBy, &r.Aborting, &r.AbortReason,
		&r.AbortedBy, &r.Created, &r.Phase, &r.Attempt, &r.Started, &r.Ended, &r.Updated, &r.Seq,
	}
}

func queryRuns(tx store.Tx, where string, args ...any) (found []*RunInfo, err error) {
	rows, err := tx.Query(`SELECT `+runColumns+` FROM runs WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := &RunInfo{}
		if err := rows.Scan(r.fields()...); err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// Run returns a run's row, or a fault of KindNotFound.
func (j *Journal) Run(ctx context.Context, name names.Run) (run *RunInfo, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		run, err = readRun(tx, name)
		return err
	})
	return run, err
}

// RunAndRoot returns a run and its root action as they are at one moment, by one read.
func (j *Journal) RunAndRoot(ctx context.Context, name names.Run) (run *RunInfo, root *Row, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		if run, err = readRun(tx, name); err != nil {
			return err
		}
		root, err = readAction(tx, run.ID, names.Root)
		return err
	})
	return run, root, err
}

func readRun(tx store.Tx, name names.Run) (*RunInfo, error) {
	found, err := queryRuns(tx, `org = ? AND project = ? AND domain = ? AND name = ?`, name.Org, name.Project.Project, name.Domain, name.Name)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fault.NotFound("run", name.Name)
	}
	return found[0], labels(tx, found[0])
}

func labels(tx store.Tx, run *RunInfo) error {
	rows, err := tx.Query(`SELECT key, value FROM run_labels WHERE run_id = ?`, run.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	run.Labels = map[string]string{}
	for rows.Next() {
		var key, value string
		if err := rows.Scan(&key, &value); err != nil {
			return err
		}
		run.Labels[key] = value
	}
	return rows.Err()
}

// PastAttempts returns the attempts of an action that were followed by another, in order.
func (j *Journal) PastAttempts(ctx context.Context, runID int64, action string) (past []engine.PastAttempt, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		rows, err := tx.Query(`SELECT attempt, phase, queued_at, initialized_at, started_at, ended_at, error_code, error_message, error_kind,
			recoverable, peak_memory FROM attempts WHERE run_id = ? AND action = ? ORDER BY attempt`, runID, action)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			p := engine.PastAttempt{RunID: runID, Action: action, Error: &engine.Error{}}
			if err := rows.Scan(&p.Attempt, &p.Phase, &p.Queued, &p.Initialized, &p.Started, &p.Ended, &p.Error.Code, &p.Error.Message,
				&p.Error.Kind, &p.Error.Recoverable, &p.Usage.PeakMemory); err != nil {
				return err
			}
			past = append(past, p)
		}
		return rows.Err()
	})
	return past, err
}

// Cached returns the entry of a cache key made at or after oldest, or nil.
func (j *Journal) Cached(ctx context.Context, key string, oldest engine.Time) (hit *engine.Pointer, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		p := &engine.Pointer{}
		err := tx.QueryRow(`SELECT run, action, attempt, output_uri FROM cache_entries WHERE key = ? AND created_at >= ?`, key, oldest).
			Scan(&p.Run, &p.Action, &p.Attempt, &p.OutputURI)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		hit = p
		return err
	})
	return hit, err
}

// maxTraces bounds the traces that one action of a recovering run takes over; the others are executed.
const maxTraces = 10_000

// RecoverableTraces returns the traces of an action that a run which recovers from source need not execute again.
func (j *Journal) RecoverableTraces(ctx context.Context, source names.Run, parent string) (found []*Row, err error) {
	run, err := j.Run(ctx, source)
	if fault.Is(err, fault.KindNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = j.db.Read(ctx, func(tx store.Tx) error {
		found, err = queryActions(tx, `run_id = ? AND parent = ? AND kind = ? AND phase IN (?, ?) ORDER BY seq LIMIT ?`,
			run.ID, parent, engine.KindTrace, engine.PhaseSucceeded, engine.PhaseRecovered, maxTraces)
		return err
	})
	return found, err
}

// Recoverable returns what a run that recovers from source takes over for the action of this name, or nil.
func (j *Journal) Recoverable(ctx context.Context, source names.Run, action string) (found *engine.Pointer, err error) {
	run, err := j.Run(ctx, source)
	if err != nil {
		if fault.Is(err, fault.KindNotFound) {
			return nil, nil
		}
		return nil, err
	}
	row, err := j.Action(ctx, run.ID, action)
	if err != nil {
		if fault.Is(err, fault.KindNotFound) {
			return nil, nil
		}
		return nil, err
	}
	if !row.Phase.Good() {
		return nil, nil
	}
	return &engine.Pointer{
		Run: RunText(source), Action: action, Attempt: row.Attempt,
		OutputURI: row.OutputURI, Value: row.Value,
	}, nil
}
