package registry

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/store"
)

// ProjectEvents returns the projects that changed after seq as the control plane may see them: not what they say about
// themselves.
func ProjectEvents(tx store.Tx, after int64, limit int) (events []*linkv1.Event, err error) {
	rows, err := tx.Query(`SELECT seq, org, id, name, state, created_at, updated_at FROM projects WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e, s := &linkv1.Event{}, &linkv1.ProjectState{Domains: Domains}
		var state project.ProjectState
		if err := rows.Scan(&e.Seq, &s.Org, &s.Id, &s.Name, &state, &s.CreatedUs, &s.UpdatedUs); err != nil {
			return nil, err
		}
		s.Archived = archived(state)
		e.Row = &linkv1.Event_Project{Project: s}
		events = append(events, e)
	}
	return events, rows.Err()
}

// TaskEvents returns the versions of tasks that were deployed after seq, as the control plane may see them: names, no spec.
func TaskEvents(tx store.Tx, after int64, limit int) (events []*linkv1.Event, err error) {
	rows, err := tx.Query(`SELECT seq, org, project, domain, name, version, short_name, environment, created_at
		FROM tasks WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e, s := &linkv1.Event{}, &linkv1.TaskState{Id: &linkv1.TaskID{}}
		if err := rows.Scan(&e.Seq, &s.Id.Org, &s.Id.Project, &s.Id.Domain, &s.Id.Name, &s.Id.Version, &s.ShortName, &s.Environment, &s.DeployedUs); err != nil {
			return nil, err
		}
		e.Row = &linkv1.Event_Task{Task: s}
		events = append(events, e)
	}
	return events, rows.Err()
}

// TriggerEvents returns the triggers that changed after seq, deleted ones included, as the control plane may see them: when
// they fire, not what with.
func TriggerEvents(tx store.Tx, after int64, limit int) (events []*linkv1.Event, err error) {
	rows, err := tx.Query(`SELECT `+triggerColumns+`, seq FROM triggers WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e := &linkv1.Event{}
		row, err := scanTrigger(func(dest ...any) error { return rows.Scan(append(dest, &e.Seq)...) })
		if err != nil {
			return nil, err
		}
		s, err := row.linkState()
		if err != nil {
			return nil, err
		}
		e.Row = &linkv1.Event_Trigger{Trigger: s}
		events = append(events, e)
	}
	return events, rows.Err()
}

func (row triggerRow) linkState() (*linkv1.TriggerState, error) {
	s := &linkv1.TriggerState{
		Id:       &linkv1.TriggerID{Org: row.id.Org, Project: row.id.Project.Project, Domain: row.id.Domain, Task: row.id.Task, Name: row.id.Name},
		Revision: uint64(row.revision), Kind: linkv1.TriggerKind_TRIGGER_KIND_ON_DEMAND, Active: row.active, Deleted: row.deleted != 0,
		TaskVersion: row.taskVersion, UpdatedUs: row.updated, LastFiredUs: row.fired,
	}
	automation := &task.TriggerAutomationSpec{}
	if err := proto.Unmarshal(row.automation, automation); err != nil {
		return nil, fmt.Errorf("automation of trigger %s of %s: %w", row.id.Name, row.id.Task, err)
	}
	switch automation.GetSchedule().GetExpression().(type) {
	case *task.Schedule_Cron, *task.Schedule_CronExpression:
		s.Kind = linkv1.TriggerKind_TRIGGER_KIND_CRON
	case *task.Schedule_Rate:
		s.Kind = linkv1.TriggerKind_TRIGGER_KIND_FIXED_RATE
	}
	if !row.active {
		return s, nil
	}
	// A schedule that can no longer be read, say because its zone is no more, is the scheduler's to report.
	if when, err := schedule.Parse(automation, instant(row.scheduledFrom)); err == nil {
		s.NextFireUs = micros(when.Next(instant(max(row.scheduledFrom, row.settled))))
	}
	return s, nil
}
