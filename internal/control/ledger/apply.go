package ledger

import (
	"errors"
	"fmt"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// Batch applies events of one plane in one transaction.
//
// Timeline counts how often the plane's history was replaced (its database was put back to an older state). A row gives way to one of
// a later timeline, or of the same timeline with a higher number.
type Batch struct {
	tx       store.WriteTx
	plane    link.Plane
	timeline int64
	runs     map[runKey]int64
}

type runKey struct{ project, domain, name string }

// NewBatch begins a batch in the transaction.
func NewBatch(tx store.WriteTx, plane link.Plane, timeline int64) *Batch {
	return &Batch{tx: tx, plane: plane, timeline: timeline, runs: map[runKey]int64{}}
}

// runID is the ledger's number of a run. A run's own state may come after its actions' (it changed last), so the row is
// made when the name is first seen.
func (b *Batch) runID(id *linkv1.RunID) (int64, error) {
	key := runKey{id.GetProject(), id.GetDomain(), id.GetName()}
	if number, ok := b.runs[key]; ok {
		return number, nil
	}
	var number int64
	err := b.tx.QueryRow(`SELECT id FROM runs WHERE org = ? AND name = ? AND project = ? AND domain = ? AND plane = ?`,
		b.plane.Org, key.name, key.project, key.domain, b.plane.Name).Scan(&number)
	if errors.Is(err, store.ErrNoRows) {
		number = b.tx.NextSeq()
		_, err = b.tx.Exec(`INSERT INTO runs (id, org, plane, project, domain, name, timeline, seq) VALUES (?, ?, ?, ?, ?, ?, ?, 0)`,
			number, b.plane.Org, b.plane.Name, key.project, key.domain, key.name, b.timeline)
	}
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", key.name, err)
	}
	b.runs[key] = number
	return number, nil
}

// Run stores the state of a run.
func (b *Batch) Run(seq int64, s *linkv1.RunState) error {
	id, err := b.runID(s.GetId())
	if err != nil {
		return err
	}
	_, err = b.tx.Exec(`UPDATE runs SET timeline = ?, seq = ?, task = ?, task_version = ?, phase = ?, created_us = ?, started_us = ?,
		ended_us = ?, attempts = ?, error_code = ?, exit_class = ?, source = ?, trigger_name = ?, relation = ?, related_to = ?,
		created_by = ?, aborted_by = ? WHERE id = ? AND (timeline < ? OR timeline = ? AND seq < ?)`,
		b.timeline, seq, s.GetTask().GetName(), s.GetTask().GetVersion(), int32(s.GetPhase()), s.GetCreatedUs(), s.GetStartedUs(),
		s.GetEndedUs(), s.GetAttempts(), s.GetErrorCode(), int32(s.GetExitClass()), int32(s.GetSource()), s.GetTrigger().GetName(),
		int32(s.GetRelation()), s.GetRelatedTo().GetName(), s.GetCreatedBy(), s.GetAbortedBy(), id, b.timeline, b.timeline, seq)
	return err
}

// Action stores the state of an action.
func (b *Batch) Action(seq int64, s *linkv1.ActionState) error {
	run, err := b.runID(s.GetId().GetRun())
	if err != nil {
		return err
	}
	_, err = b.tx.Exec(`INSERT INTO actions (run, name, timeline, seq, parent, kind, short_name, task, task_version, phase, attempt, created_us,
		started_us, ended_us, cache_status, error_code, exit_class, inputs_uri, outputs_uri, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (run, name) DO UPDATE SET timeline = excluded.timeline, seq = excluded.seq, parent = excluded.parent, kind = excluded.kind,
		short_name = excluded.short_name, task = excluded.task, task_version = excluded.task_version, phase = excluded.phase,
		attempt = excluded.attempt, created_us = excluded.created_us, started_us = excluded.started_us, ended_us = excluded.ended_us,
		cache_status = excluded.cache_status, error_code = excluded.error_code, exit_class = excluded.exit_class,
		inputs_uri = excluded.inputs_uri, outputs_uri = excluded.outputs_uri, reason = excluded.reason
		WHERE actions.timeline < excluded.timeline OR actions.timeline = excluded.timeline AND actions.seq < excluded.seq`,
		run, s.GetId().GetName(), b.timeline, seq, s.GetParent(), int32(s.GetKind()), s.GetShortName(), s.GetTask().GetName(),
		s.GetTask().GetVersion(), int32(s.GetPhase()), s.GetAttempt(), s.GetCreatedUs(), s.GetStartedUs(), s.GetEndedUs(),
		int32(s.GetCacheStatus()), s.GetErrorCode(), int32(s.GetExitClass()), s.GetInputsUri(), s.GetOutputsUri(), int32(s.GetReason()))
	return err
}

// Attempt stores the state of an attempt.
func (b *Batch) Attempt(seq int64, s *linkv1.AttemptState) error {
	run, err := b.runID(s.GetAction().GetRun())
	if err != nil {
		return err
	}
	_, err = b.tx.Exec(`INSERT INTO attempts (run, action, number, timeline, seq, phase, created_us, started_us, ended_us, error_code, exit_class,
		cache_status, peak_memory_bytes, cpu_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (run, action, number) DO UPDATE SET timeline = excluded.timeline, seq = excluded.seq, phase = excluded.phase,
		created_us = excluded.created_us, started_us = excluded.started_us, ended_us = excluded.ended_us, error_code = excluded.error_code,
		exit_class = excluded.exit_class, cache_status = excluded.cache_status, peak_memory_bytes = excluded.peak_memory_bytes,
		cpu_us = excluded.cpu_us
		WHERE attempts.timeline < excluded.timeline OR attempts.timeline = excluded.timeline AND attempts.seq < excluded.seq`,
		run, s.GetAction().GetName(), s.GetNumber(), b.timeline, seq, int32(s.GetPhase()), s.GetCreatedUs(), s.GetStartedUs(), s.GetEndedUs(),
		s.GetErrorCode(), int32(s.GetExitClass()), int32(s.GetCacheStatus()), s.GetPeakMemoryBytes(), s.GetCpuUs())
	return err
}

// Sweep is called when a plane whose history was replaced has sent everything again: what it did not mention it does not
// know. Runs that had ended stay as they were recorded; the rest would be a state that is not true.
func (b *Batch) Sweep() error {
	mine := `SELECT id FROM runs WHERE org = ? AND plane = ?`
	for _, statement := range []string{
		// Rows of runs that the plane still has, or that had not ended.
		`DELETE FROM attempts WHERE timeline < ? AND run IN (` + mine + ` AND (timeline = ? OR phase NOT IN ` + endedPhases + `))`,
		`DELETE FROM actions WHERE timeline < ? AND run IN (` + mine + ` AND (timeline = ? OR phase NOT IN ` + endedPhases + `))`,
		`DELETE FROM runs WHERE timeline < ? AND id IN (` + mine + ` AND timeline <> ? AND phase NOT IN ` + endedPhases + `)`,
	} {
		if _, err := b.tx.Exec(statement, b.timeline, b.plane.Org, b.plane.Name, b.timeline); err != nil {
			return fmt.Errorf("sweep the ledger: %w", err)
		}
	}
	return nil
}
