package journal

import (
	"context"
	"encoding/json"
	"strings"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// RunRow is what is kept of a run beside what the engine knows; it is engine.NewRun.Row.
type RunRow struct {
	RunSpec     []byte // flyteidl2.task.RunSpec
	Source      int32  // flyteidl2.workflow.RunSource
	TaskProject string
	TaskDomain  string
	TaskName    string
	TaskVersion string
	TriggerTask string
	TriggerName string
	RelatedTo   string // project/domain/run
	Relation    int32  // flyteidl2.common.RelationType
	CreatedBy   string
	Labels      map[string]string
}

// facts are the parts of engine.Run that a restart needs and no column holds.
type facts struct {
	MaxConcurrency uint32          `json:"max_concurrency,omitempty"`
	OverwriteCache bool            `json:"overwrite_cache,omitempty"`
	GlobalCache    bool            `json:"global_cache,omitempty"`
	RecoverFrom    string          `json:"recover_from,omitempty"`
	ForceRerun     map[string]bool `json:"force_rerun,omitempty"`
}

// Specs are task specifications by digest, to be written with the first action that has them.
type Specs map[string][]byte

// Commit writes all that a batch of steps changed in one transaction and then wakes the watchers.
func (j *Journal) Commit(ctx context.Context, out *engine.Output, specs Specs) error {
	topics := map[Topic]struct{}{{}: {}}
	var written []change
	err := j.db.Write(ctx, func(tx store.WriteTx) error {
		for digest, spec := range specs {
			if _, err := tx.Exec(`INSERT INTO action_specs (digest, spec) VALUES (?, ?) ON CONFLICT DO NOTHING`, digest, spec); err != nil {
				return err
			}
		}
		for _, created := range out.NewRuns {
			if err := insertRun(tx, created.Run, created.Row.(*RunRow)); err != nil {
				return err
			}
		}
		for _, run := range out.Runs {
			if _, err := tx.Exec(`UPDATE runs SET aborting = ?, abort_reason = ?, aborted_by = ?, abort_code = ?, seq = ? WHERE id = ?`,
				run.Aborting, run.AbortReason, run.AbortedBy, run.AbortCode, tx.NextSeq(), run.ID); err != nil {
				return err
			}
		}
		for _, a := range out.Actions {
			seq, err := writeAction(tx, a)
			if err != nil {
				return err
			}
			parent := Topic{Run: a.Run.ID, Parent: a.ParentName}
			written = append(written, change{parent, seq, a})
			topics[parent] = struct{}{}
			topics[Topic{Run: a.Run.ID, Action: a.Name}] = struct{}{}
		}
		for _, past := range out.Attempts {
			if err := insertAttempt(tx, past); err != nil {
				return err
			}
		}
		for _, entry := range out.Cached {
			if err := putCache(tx, entry); err != nil {
				return err
			}
		}
		for _, touched := range out.Touched {
			parent, seq := Topic{Run: touched.RunID}, tx.NextSeq()
			err := tx.QueryRow(`UPDATE actions SET seq = ? WHERE run_id = ? AND name = ? RETURNING parent`, seq, touched.RunID, touched.Action).Scan(&parent.Parent)
			if err != nil {
				return err
			}
			written = append(written, change{topic: parent, seq: seq})
			topics[parent] = struct{}{}
		}
		return closeRuns(tx, out)
	})
	if err != nil {
		return err
	}
	j.hub.publish(topics, written)
	return nil
}

func insertRun(tx store.WriteTx, run *engine.Run, row *RunRow) error {
	known := facts{MaxConcurrency: run.MaxConcurrency, OverwriteCache: run.OverwriteCache, GlobalCache: run.GlobalCache, ForceRerun: run.ForceRerun}
	if run.RecoverFrom != nil {
		known.RecoverFrom = RunText(*run.RecoverFrom)
	}
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO runs (id, org, project, domain, name, digest, run_spec, facts, source, task_project, task_domain, task_name,
		task_version, trigger_task, trigger_name, related_to, relation, created_by, created_at, phase, attempt, started_at, ended_at, updated_at, open, seq)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 0, 0, ?, 1, ?)`,
		run.ID, run.Name.Org, run.Name.Project.Project, run.Name.Domain, run.Name.Name, run.Digest, row.RunSpec, string(text), row.Source,
		row.TaskProject, row.TaskDomain, row.TaskName, row.TaskVersion, row.TriggerTask, row.TriggerName, row.RelatedTo, row.Relation,
		row.CreatedBy, run.Created, run.Created, tx.NextSeq())
	if err != nil {
		return err
	}
	for key, value := range row.Labels {
		if _, err := tx.Exec(`INSERT INTO run_labels (run_id, key, value) VALUES (?, ?, ?)`, run.ID, key, value); err != nil {
			return err
		}
	}
	return nil
}

// writeAction returns the number of the change.
func writeAction(tx store.WriteTx, a *engine.Action) (seq int64, err error) {
	failure := a.Error
	if failure == nil {
		failure = &engine.Error{}
	}
	from := a.From
	if from == nil {
		from = &engine.Pointer{}
	}
	updated := max(a.Created, a.Queued, a.Initialized, a.Started, a.Ended)
	seq = tx.NextSeq()
	if a.Fresh() {
		digest, task := "", ""
		if a.Task != nil {
			digest, task = a.Task.Digest, a.Task.Name
		}
		_, err = tx.Exec(`INSERT INTO actions (run_id, name, parent, kind, grp, spec, task_name, input_uri, output_base, cache_key, queue, sleep_us,
			timeout_us, detail, created_at, phase, wait, attempt, cache_status, queued_at, initialized_at, started_at, ended_at, updated_at, retry_at,
			user_failures, system_failures, output_uri, value, error_code, error_message, error_kind, recoverable, from_run, from_action,
			from_attempt, abort_reason, aborted_by, stop, peak_memory, cpu_us, seq)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			a.Run.ID, a.Name, a.ParentName, a.Kind, a.Group, digest, task, a.InputURI(), a.OutputBase, a.CacheKey, a.Queue, a.Sleep.Microseconds(),
			a.Timeout.Microseconds(), a.Detail, a.Created, a.Phase, a.Wait, a.Attempt, a.CacheStatus, a.Queued, a.Initialized, a.Started, a.Ended, updated,
			a.RetryAt, a.UserFailures, a.SystemFailures, a.OutputURI, a.Value, failure.Code, failure.Message, failure.Kind, failure.Recoverable,
			from.Run, from.Action, from.Attempt, a.AbortReason, a.AbortedBy, a.Stop, a.Usage.PeakMemory, a.Usage.CPU.Microseconds(), seq)
	} else {
		_, err = tx.Exec(`UPDATE actions SET phase = ?, wait = ?, attempt = ?, cache_status = ?, queued_at = ?, initialized_at = ?, started_at = ?,
			ended_at = ?, updated_at = ?, retry_at = ?, user_failures = ?, system_failures = ?, output_uri = ?, value = ?, error_code = ?, error_message = ?,
			error_kind = ?, recoverable = ?, from_run = ?, from_action = ?, from_attempt = ?, abort_reason = ?, aborted_by = ?, stop = ?,
			peak_memory = ?, cpu_us = ?, seq = ? WHERE run_id = ? AND name = ?`,
			a.Phase, a.Wait, a.Attempt, a.CacheStatus, a.Queued, a.Initialized, a.Started, a.Ended, updated, a.RetryAt, a.UserFailures, a.SystemFailures,
			a.OutputURI, a.Value, failure.Code, failure.Message, failure.Kind, failure.Recoverable, from.Run, from.Action, from.Attempt,
			a.AbortReason, a.AbortedBy, a.Stop, a.Usage.PeakMemory, a.Usage.CPU.Microseconds(), seq, a.Run.ID, a.Name)
	}
	if err != nil || a.ParentName != "" {
		return seq, err
	}
	_, err = tx.Exec(`UPDATE runs SET phase = ?, attempt = ?, started_at = ?, ended_at = ?, updated_at = ?, seq = ? WHERE id = ?`,
		a.Phase, a.Attempt, a.Started, a.Ended, updated, tx.NextSeq(), a.Run.ID)
	return seq, err
}

func insertAttempt(tx store.WriteTx, p engine.PastAttempt) error {
	failure := p.Error
	if failure == nil {
		failure = &engine.Error{}
	}
	_, err := tx.Exec(`INSERT INTO attempts (run_id, action, attempt, phase, queued_at, initialized_at, started_at, ended_at, error_code,
		error_message, error_kind, recoverable, peak_memory, cpu_us, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.RunID, p.Action, p.Attempt, p.Phase, p.Queued, p.Initialized, p.Started, p.Ended, failure.Code, failure.Message, failure.Kind,
		failure.Recoverable, p.Usage.PeakMemory, p.Usage.CPU.Microseconds(), tx.NextSeq())
	return err
}

// putCache makes the entry known to its own project and to everybody: how far a run looks is the choice of the run that
// looks.
func putCache(tx store.WriteTx, e engine.CacheEntry) error {
	run := RunText(e.Run)
	key := unscoped(e.Run.Project, e.Key)
	for _, global := range []bool{false, true} {
		_, err := tx.Exec(`INSERT INTO cache_entries (key, run, action, attempt, output_uri, created_at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET run = excluded.run, action = excluded.action, attempt = excluded.attempt,
			output_uri = excluded.output_uri, created_at = excluded.created_at`,
			ScopedKey(e.Run.Project, global, key), run, e.Action, e.Attempt, e.OutputURI, e.At)
		if err != nil {
			return err
		}
	}
	return nil
}

// everywhere begins the cache keys that all projects share; "*" is no name of a project.
const everywhere = "*/"

// ScopedKey is the cache key under which a run of the project looks and waits: its project's, or, with global, everybody's.
// An empty key stays empty.
func ScopedKey(project names.Project, global bool, key string) string {
	switch {
	case key == "":
		return ""
	case global:
		return everywhere + key
	}
	return project.Project + "/" + project.Domain + "/" + key
}

func unscoped(project names.Project, key string) string {
	if short, found := strings.CutPrefix(key, everywhere); found {
		return short
	}
	return strings.TrimPrefix(key, project.Project+"/"+project.Domain+"/")
}

// closeRuns notes which runs have nothing unfinished left, so that a restart need not look at them.
func closeRuns(tx store.WriteTx, out *engine.Output) error {
	seen := map[int64]bool{}
	for _, a := range out.Actions {
		if !a.Phase.Terminal() || seen[a.Run.ID] {
			continue
		}
		seen[a.Run.ID] = true
		if !a.Run.Finished() {
			continue
		}
		if _, err := tx.Exec(`UPDATE runs SET open = 0 WHERE id = ?`, a.Run.ID); err != nil {
			return err
		}
	}
	return nil
}
