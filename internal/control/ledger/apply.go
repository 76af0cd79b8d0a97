package ledger

import (
	"fmt"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// Batch applies events of one plane in one transaction.
//
// Timeline counts how often the plane's history was replaced (its database was put back to an older state). A row gives way to one of
// a later lease, then of a later timeline, then with a higher number.
type Batch struct {
	tx       store.WriteTx
	plane    link.Plane
	timeline int64
	runs     map[runKey]*standing
	stops    []Stop
}

type runKey struct{ project, domain, name string }

// NewBatch begins a batch in the transaction.
func NewBatch(tx store.WriteTx, plane link.Plane, timeline int64) *Batch {
	return &Batch{tx: tx, plane: plane, timeline: timeline, runs: map[runKey]*standing{}}
}

// Run stores the state of a run.
func (b *Batch) Run(seq int64, s *linkv1.RunState) error {
	id, epoch, err := b.lease(s.GetId(), s.GetEpoch(), s.GetCreatedUs(), Ended(s.GetPhase()))
	if err != nil || id == 0 {
		return err
	}
	_, err = b.tx.Exec(`UPDATE runs SET epoch = ?, timeline = ?, seq = ?, task = ?, task_version = ?, phase = ?, created_us = ?, started_us = ?,
		ended_us = ?, attempts = ?, error_code = ?, exit_class = ?, source = ?, trigger_name = ?, relation = ?, related_to = ?,
		created_by = ?, aborted_by = ? WHERE id = ? AND (epoch, timeline, seq) < (?, ?, ?)`,
		epoch, b.timeline, seq, s.GetTask().GetName(), s.GetTask().GetVersion(), int32(s.GetPhase()), s.GetCreatedUs(), s.GetStartedUs(),
		s.GetEndedUs(), s.GetAttempts(), s.GetErrorCode(), int32(s.GetExitClass()), int32(s.GetSource()), s.GetTrigger().GetName(),
		int32(s.GetRelation()), s.GetRelatedTo().GetName(), s.GetCreatedBy(), s.GetAbortedBy(), id, epoch, b.timeline, seq)
	return err
}

// Action stores the state of an action.
func (b *Batch) Action(seq int64, s *linkv1.ActionState) error {
	run, epoch, err := b.lease(s.GetId().GetRun(), s.GetEpoch(), s.GetRunCreatedUs(), false)
	if err != nil || run == 0 {
		return err
	}
	_, err = b.tx.Exec(`INSERT INTO actions (run, name, epoch, timeline, seq, parent, kind, short_name, task, task_version, phase, attempt, created_us,
		started_us, ended_us, cache_status, error_code, exit_class, inputs_uri, outputs_uri, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (run, name) DO UPDATE SET epoch = excluded.epoch, timeline = excluded.timeline, seq = excluded.seq, parent = excluded.parent, kind = excluded.kind,
		short_name = excluded.short_name, task = excluded.task, task_version = excluded.task_version, phase = excluded.phase,
		attempt = excluded.attempt, created_us = excluded.created_us, started_us = excluded.started_us, ended_us = excluded.ended_us,
		cache_status = excluded.cache_status, error_code = excluded.error_code, exit_class = excluded.exit_class,
		inputs_uri = excluded.inputs_uri, outputs_uri = excluded.outputs_uri, reason = excluded.reason
		WHERE (actions.epoch, actions.timeline, actions.seq) < (excluded.epoch, excluded.timeline, excluded.seq)`,
		run, s.GetId().GetName(), epoch, b.timeline, seq, s.GetParent(), int32(s.GetKind()), s.GetShortName(), s.GetTask().GetName(),
		s.GetTask().GetVersion(), int32(s.GetPhase()), s.GetAttempt(), s.GetCreatedUs(), s.GetStartedUs(), s.GetEndedUs(),
		int32(s.GetCacheStatus()), s.GetErrorCode(), int32(s.GetExitClass()), s.GetInputsUri(), s.GetOutputsUri(), int32(s.GetReason()))
	return err
}

// Attempt stores the state of an attempt.
func (b *Batch) Attempt(seq int64, s *linkv1.AttemptState) error {
	run, epoch, err := b.lease(s.GetAction().GetRun(), s.GetEpoch(), s.GetRunCreatedUs(), false)
	if err != nil || run == 0 {
		return err
	}
	_, err = b.tx.Exec(`INSERT INTO attempts (run, action, number, epoch, timeline, seq, phase, created_us, started_us, ended_us, error_code, exit_class,
		cache_status, peak_memory_bytes, cpu_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (run, action, number) DO UPDATE SET epoch = excluded.epoch, timeline = excluded.timeline, seq = excluded.seq, phase = excluded.phase,
		created_us = excluded.created_us, started_us = excluded.started_us, ended_us = excluded.ended_us, error_code = excluded.error_code,
		exit_class = excluded.exit_class, cache_status = excluded.cache_status, peak_memory_bytes = excluded.peak_memory_bytes,
		cpu_us = excluded.cpu_us
		WHERE (attempts.epoch, attempts.timeline, attempts.seq) < (excluded.epoch, excluded.timeline, excluded.seq)`,
		run, s.GetAction().GetName(), s.GetNumber(), epoch, b.timeline, seq, int32(s.GetPhase()), s.GetCreatedUs(), s.GetStartedUs(), s.GetEndedUs(),
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
