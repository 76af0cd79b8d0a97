package registry

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/trigger"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

var _ schedule.Triggers = (*Registry)(nil)

// Changed returns up to limit triggers that changed after a number of the change sequence, for the scheduler.
func (r *Registry) Changed(ctx context.Context, after int64, limit int) ([]schedule.Trigger, int64, error) {
	var changed []schedule.Trigger
	next := after
	err := r.db.Read(ctx, func(tx store.Tx) error {
		rows, err := tx.Query(`SELECT project, domain, task, name, revision, active, automation, catch_up, scheduled_from, settled_at, seq
			FROM triggers WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			t := schedule.Trigger{ID: names.Trigger{Project: names.Project{Org: org()}}}
			var automation []byte
			var catchUp string
			var from, settled int64
			err := rows.Scan(&t.ID.Project.Project, &t.ID.Domain, &t.ID.Task, &t.ID.Name, &t.Revision, &t.Active, &automation, &catchUp,
				&from, &settled, &next)
			if err != nil {
				return err
			}
			t.From, t.Settled = instant(from), instant(settled)
			if t.Active {
				t.Problem = readSchedule(&t, automation, catchUp)
			}
			changed = append(changed, t)
		}
		return rows.Err()
	})
	return changed, next, err
}

func readSchedule(t *schedule.Trigger, raw []byte, catchUp string) error {
	var automation task.TriggerAutomationSpec
	if err := proto.Unmarshal(raw, &automation); err != nil {
		return err
	}
	var err error
	if t.Schedule, err = schedule.Parse(&automation, t.From); err != nil {
		return err
	}
	t.Policy, err = schedule.ParsePolicy(catchUp)
	return err
}

// Fire says what an active trigger runs for the time at.
func (r *Registry) Fire(ctx context.Context, id names.Trigger, at time.Time) (schedule.Fire, error) {
	var details *trigger.TriggerDetails
	err := r.db.Read(ctx, func(tx store.Tx) error {
		row, err := readTrigger(tx, id)
		if err != nil {
			return err
		}
		if !row.active {
			return fault.New(fault.KindPrecondition, "trigger %q of task %q is not active", id.Name, id.Task)
		}
		details, err = row.details()
		return err
	})
	if err != nil {
		return schedule.Fire{}, err
	}
	spec := details.GetSpec()
	runSpec := spec.GetRunSpec()
	if runSpec == nil {
		runSpec = &task.RunSpec{}
	}
	runSpec.RunStartTime = timestamppb.New(at)
	return schedule.Fire{
		Run:        names.Run{Project: id.Project, Name: schedule.RunName(id, at)},
		Trigger:    id,
		Revision:   details.GetId().GetRevision(),
		Task:       names.Task{Project: id.Project, Name: id.Task, Version: spec.GetTaskVersion()},
		RunSpec:    runSpec,
		Inputs:     spec.GetInputs(),
		Offloaded:  spec.GetOffloadedInputData(),
		At:         at,
		KickoffArg: details.GetAutomationSpec().GetSchedule().GetKickoffTimeInputArg(),
		Automation: details.GetAutomationSpec(),
	}, nil
}

// Mark records how far triggers have come. It makes no revision: that a trigger fired is no change of it.
func (r *Registry) Mark(ctx context.Context, marks []schedule.Mark) error {
	return r.db.Write(ctx, func(tx store.WriteTx) error {
		for _, mark := range marks {
			query, args := `UPDATE triggers SET settled_at = ?, seq = ?`, []any{micros(mark.Settled), tx.NextSeq()}
			if !mark.Fired.IsZero() {
				query, args = query+`, fired_at = ?`, append(args, micros(mark.Fired))
			}
			if _, err := tx.Exec(query+whereTrigger+` AND deleted_at = 0`, append(args, triggerKey(mark.ID)...)...); err != nil {
				return err
			}
		}
		return nil
	})
}
