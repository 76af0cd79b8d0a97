package journal

import (
	"net/url"
	"strings"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// RunEvents returns the runs that changed after seq as the control plane may see them: names, states, pointers. Of a run that is fenced
// nothing is told, here and in the other two.
func RunEvents(tx store.Tx, after int64, limit int) (events []*linkv1.Event, err error) {
	rows, err := tx.Query(`SELECT r.seq, r.org, r.project, r.domain, r.name, r.task_project, r.task_domain, r.task_name, r.task_version, r.trigger_task,
		r.trigger_name, r.related_to, r.relation, r.source, r.created_by, r.aborted_by, r.created_at, r.phase, r.attempt, r.started_at, r.ended_at,
		coalesce(a.error_code, ''), coalesce(a.error_kind, 0), r.epoch
		FROM runs r LEFT JOIN actions a ON a.run_id = r.id AND a.name = 'a0' WHERE r.seq > ? AND r.fenced = 0 ORDER BY r.seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e := &linkv1.Event{}
		s := &linkv1.RunState{Id: &linkv1.RunID{}, Task: &linkv1.TaskID{Org: names.Org}}
		var triggerTask, triggerName, related string
		var source int32
		if err := rows.Scan(&e.Seq, &s.Id.Org, &s.Id.Project, &s.Id.Domain, &s.Id.Name, &s.Task.Project, &s.Task.Domain, &s.Task.Name, &s.Task.Version,
			&triggerTask, &triggerName, &related, &s.Relation, &source, &s.CreatedBy, &s.AbortedBy, &s.CreatedUs, &s.Phase, &s.Attempts,
			&s.StartedUs, &s.EndedUs, &s.ErrorCode, &s.ExitClass, &s.Epoch); err != nil {
			return nil, err
		}
		if triggerName != "" {
			s.Trigger = &linkv1.TriggerID{Org: names.Org, Project: s.Task.Project, Domain: s.Task.Domain, Task: triggerTask, Name: triggerName}
		}
		if from, err := ParseRun(related); err == nil {
			s.RelatedTo = linkRun(from)
		}
		if _, known := linkv1.RunSource_name[source]; known {
			s.Source = linkv1.RunSource(source)
		}
		e.Row = &linkv1.Event_Run{Run: s}
		events = append(events, e)
	}
	return events, rows.Err()
}

// ActionEvents returns the actions that changed after seq as the control plane may see them.
func ActionEvents(tx store.Tx, after int64, limit int) (events []*linkv1.Event, err error) {
	rows, err := tx.Query(`SELECT a.seq, r.org, r.project, r.domain, r.name, a.name, a.parent, a.kind, a.task_name, a.phase, a.attempt, a.created_at,
		a.started_at, a.ended_at, a.cache_status, a.error_code, a.error_kind, a.input_uri, a.output_uri, a.wait,
		r.epoch, r.created_at
		FROM actions a JOIN runs r ON r.id = a.run_id WHERE a.seq > ? AND r.fenced = 0 ORDER BY a.seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e := &linkv1.Event{}
		s := &linkv1.ActionState{Id: &linkv1.ActionID{Run: &linkv1.RunID{}}}
		var task string
		var cache engine.CacheStatus
		var wait engine.Wait
		if err := rows.Scan(&e.Seq, &s.Id.Run.Org, &s.Id.Run.Project, &s.Id.Run.Domain, &s.Id.Run.Name, &s.Id.Name, &s.Parent, &s.Kind, &task,
			&s.Phase, &s.Attempt, &s.CreatedUs, &s.StartedUs, &s.EndedUs, &cache, &s.ErrorCode, &s.ExitClass, &s.InputsUri, &s.OutputsUri, &wait,
			&s.Epoch, &s.RunCreatedUs); err != nil {
			return nil, err
		}
		if task != "" {
			s.ShortName = task[strings.LastIndexByte(task, '.')+1:]
			s.Task = &linkv1.TaskID{Org: names.Org, Project: s.Id.Run.Project, Domain: s.Id.Run.Domain, Name: task}
		}
		s.CacheStatus = linkv1.CacheStatus(cache + 1) // the protocol's numbers start at 0 with a meaning
		s.Reason = reasons[wait]
		s.InputsUri, s.OutputsUri = pointer(s.InputsUri), pointer(s.OutputsUri)
		e.Row = &linkv1.Event_Action{Action: s}
		events = append(events, e)
	}
	return events, rows.Err()
}

// AttemptEvents returns the attempts that were followed by another, and written after seq, as the control plane may see
// them. The last attempt of an action is in its action's event.
func AttemptEvents(tx store.Tx, after int64, limit int) (events []*linkv1.Event, err error) {
	rows, err := tx.Query(`SELECT t.seq, r.org, r.project, r.domain, r.name, t.action, t.attempt, t.phase, t.queued_at, t.started_at, t.ended_at,
		t.error_code, t.error_kind, t.peak_memory, t.cpu_us, r.epoch, r.created_at
		FROM attempts t JOIN runs r ON r.id = t.run_id WHERE t.seq > ? AND r.fenced = 0 ORDER BY t.seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e := &linkv1.Event{}
		s := &linkv1.AttemptState{Action: &linkv1.ActionID{Run: &linkv1.RunID{}}}
		run := s.Action.Run
		if err := rows.Scan(&e.Seq, &run.Org, &run.Project, &run.Domain, &run.Name, &s.Action.Name, &s.Number, &s.Phase, &s.CreatedUs, &s.StartedUs,
			&s.EndedUs, &s.ErrorCode, &s.ExitClass, &s.PeakMemoryBytes, &s.CpuUs, &s.Epoch, &s.RunCreatedUs); err != nil {
			return nil, err
		}
		e.Row = &linkv1.Event_Attempt{Attempt: s}
		events = append(events, e)
	}
	return events, rows.Err()
}

// pointer makes a URI of the bare path that a bucket in a folder has for an address: the link carries nothing else.
func pointer(address string) string {
	if !strings.HasPrefix(address, "/") {
		return address
	}
	return (&url.URL{Scheme: "file", Path: address}).String()
}

var reasons = map[engine.Wait]linkv1.Reason{
	engine.WaitBackoff:     linkv1.Reason_REASON_BACKOFF,
	engine.WaitSlot:        linkv1.Reason_REASON_CORES,
	engine.WaitConcurrency: linkv1.Reason_REASON_CONCURRENCY_LIMIT,
	engine.WaitReservation: linkv1.Reason_REASON_CACHE_RESERVATION,
	engine.WaitFit:         linkv1.Reason_REASON_NEVER_FITS,
	engine.WaitStart:       linkv1.Reason_REASON_STARTING,
	engine.WaitSignal:      linkv1.Reason_REASON_CONDITION,
	engine.WaitStop:        linkv1.Reason_REASON_STOPPING,
	engine.WaitChildren:    linkv1.Reason_REASON_WAITING_FOR_CHILD,
	engine.WaitProcesses:   linkv1.Reason_REASON_QUEUE_LIMIT,
}

func linkRun(r names.Run) *linkv1.RunID {
	return &linkv1.RunID{Org: r.Org, Project: r.Project.Project, Domain: r.Domain, Name: r.Name}
}
