package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/trigger"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/data/taskspec"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// maxRevisions are kept per trigger; the oldest go first.
const maxRevisions = 1000

// maxTriggerDescription in bytes; the SDK allows 255 characters.
const maxTriggerDescription = 1024

// draft is a trigger that was checked and is ready to be deployed. spec.task_version may be empty until then.
type draft struct {
	id         names.Trigger
	spec       *trigger.TriggerSpec
	automation *task.TriggerAutomationSpec
}

// newDraft checks a trigger as far as that is possible without its task. prefix is its place in the request.
func newDraft(prefix string, id names.Trigger, spec *trigger.TriggerSpec, automation *task.TriggerAutomationSpec, now time.Time) (draft, error) {
	if automation == nil {
		automation = &task.TriggerAutomationSpec{Type: task.TriggerAutomationSpecType_TYPE_NONE}
	}
	if _, err := schedule.Parse(automation, now); err != nil {
		return draft{}, within(prefix, err)
	}
	if _, err := schedule.PolicyOf(spec.GetRunSpec()); err != nil {
		return draft{}, within(prefix+"spec.", err)
	}
	if err := checkText(prefix+"spec.description", spec.GetDescription(), maxTriggerDescription); err != nil {
		return draft{}, err
	}
	if err := checkRuns(prefix+"spec", spec); err != nil {
		return draft{}, err
	}
	if size := proto.Size(spec); size > MaxSpec {
		message := fmt.Sprintf("is %d bytes large; at most %d are allowed", size, MaxSpec)
		return draft{}, &fault.Fault{Kind: fault.KindTooLarge, Field: prefix + "spec", Message: message}
	}
	return draft{id: id, spec: spec, automation: automation}, nil
}

// checkRuns refuses what the runs of a trigger would be refused for: nobody is there to read it when it fires.
func checkRuns(field string, spec *trigger.TriggerSpec) error {
	if err := taskspec.CheckRun(field+".run_spec", spec.GetRunSpec()); err != nil {
		return err
	}
	if raw := spec.GetRunSpec().GetRawDataStorage().GetRawDataPrefix(); raw != "" {
		if err := checkRawData(field+".run_spec.raw_data_storage.raw_data_prefix", raw); err != nil {
			return err
		}
	}
	if inputs := spec.GetOffloadedInputData(); inputs != nil {
		return names.CheckPlace(field+".offloaded_input_data.uri", inputs.GetUri())
	}
	return nil
}

// within puts the field of a fault below prefix.
func within(prefix string, err error) error {
	var f *fault.Fault
	if !errors.As(err, &f) || f.Field == "" {
		return err
	}
	inner := *f
	inner.Field = prefix + f.Field
	return &inner
}

func triggerName(field string, name *common.TriggerName) (names.Trigger, error) {
	scope, err := names.NewProject(name.GetProject(), name.GetDomain())
	if err != nil {
		return names.Trigger{}, err
	}
	if err := names.Check(field+".task_name", name.GetTaskName()); err != nil {
		return names.Trigger{}, err
	}
	if err := names.Check(field+".name", name.GetName()); err != nil {
		return names.Trigger{}, err
	}
	return names.Trigger{Project: scope, Task: name.GetTaskName(), Name: name.GetName()}, nil
}

// taskTriggers reads the triggers that come with the deployment of a task.
func taskTriggers(id names.Task, request *task.DeployTaskRequest, now time.Time) ([]draft, error) {
	drafts := make([]draft, 0, len(request.GetTriggers()))
	seen := map[string]bool{}
	for i, t := range request.GetTriggers() {
		field := fmt.Sprintf("triggers[%d].", i)
		if err := names.Check(field+"name", t.GetName()); err != nil {
			return nil, err
		}
		if seen[t.GetName()] {
			return nil, fault.Invalid(field+"name", "%q is the name of another trigger of this task", t.GetName())
		}
		seen[t.GetName()] = true
		spec := &trigger.TriggerSpec{
			Active:      t.GetSpec().GetActive(),
			RunSpec:     t.GetSpec().GetRunSpec(),
			TaskVersion: id.Version,
			Description: t.GetSpec().GetDescription(),
		}
		switch inputs := t.GetSpec().GetInputWrapper().(type) {
		case *task.TaskTriggerSpec_Inputs:
			spec.InputWrapper = &trigger.TriggerSpec_Inputs{Inputs: inputs.Inputs}
		case *task.TaskTriggerSpec_OffloadedInputData:
			spec.InputWrapper = &trigger.TriggerSpec_OffloadedInputData{OffloadedInputData: inputs.OffloadedInputData}
		}
		d, err := newDraft(field, names.Trigger{Project: id.Project, Task: id.Name, Name: t.GetName()}, spec, t.GetAutomationSpec(), now)
		if err != nil {
			return nil, err
		}
		if err := checkKickoff(field, d, request.GetSpec()); err != nil {
			return nil, err
		}
		drafts = append(drafts, d)
	}
	return drafts, nil
}

// checkKickoff refuses to bind the fire time to an input that the task does not have: it would fail at every fire.
func checkKickoff(prefix string, d draft, spec *task.TaskSpec) error {
	arg := d.automation.GetSchedule().GetKickoffTimeInputArg()
	if arg == "" {
		return nil
	}
	for _, input := range spec.GetTaskTemplate().GetInterface().GetInputs().GetVariables() {
		if input.GetKey() == arg {
			return nil
		}
	}
	return fault.Invalid(prefix+"automation_spec.schedule.kickoff_time_input_arg", "%q is not an input of task %s", arg, d.id.Task)
}

// triggerRow is a trigger as it is kept.
type triggerRow struct {
	id            names.Trigger
	revision      int64
	taskVersion   string
	active        bool
	spec          []byte
	automation    []byte
	deployed      int64
	updated       int64
	deleted       int64
	scheduledFrom int64
	settled       int64
	fired         int64
}

const triggerColumns = `project, domain, task, name, revision, task_version, active, spec, automation, deployed_at, updated_at, deleted_at,
	scheduled_from, settled_at, fired_at`

func scanTrigger(scan func(dest ...any) error) (triggerRow, error) {
	var row triggerRow
	row.id.Org = org()
	return row, scan(&row.id.Project.Project, &row.id.Domain, &row.id.Task, &row.id.Name, &row.revision, &row.taskVersion, &row.active,
		&row.spec, &row.automation, &row.deployed, &row.updated, &row.deleted, &row.scheduledFrom, &row.settled, &row.fired)
}

// whereLiveTriggers is the condition of a task's triggers, with taskKey for arguments.
const whereLiveTriggers = " WHERE org = ? AND project = ? AND domain = ? AND task = ? AND deleted_at = 0"

// whereTrigger is the condition of triggerKey.
const whereTrigger = " WHERE org = ? AND project = ? AND domain = ? AND task = ? AND name = ?"

func triggerKey(id names.Trigger) []any {
	return []any{org(), id.Project.Project, id.Domain, id.Task, id.Name}
}

// findTrigger also finds tombstones.
func findTrigger(tx store.Tx, id names.Trigger) (row triggerRow, found bool, err error) {
	row, err = scanTrigger(tx.QueryRow(`SELECT `+triggerColumns+` FROM triggers`+whereTrigger, triggerKey(id)...).Scan)
	if errors.Is(err, store.ErrNoRows) {
		return triggerRow{id: id}, false, nil
	}
	return row, err == nil, err
}

func readTrigger(tx store.Tx, id names.Trigger) (triggerRow, error) {
	if _, err := existing(tx, id.Project); err != nil {
		return triggerRow{}, err
	}
	row, found, err := findTrigger(tx, id)
	if err == nil && (!found || row.deleted != 0) {
		err = fault.New(fault.KindNotFound, "trigger %q of task %q does not exist in %s; see what exists with: flyte get trigger",
			id.Name, id.Task, id.Project)
	}
	return row, err
}

// deployTrigger creates a trigger or gives it a new revision. The same trigger again changes nothing.
func deployTrigger(tx store.WriteTx, d draft, now time.Time) (triggerRow, error) {
	row, found, err := findTrigger(tx, d.id)
	if err != nil {
		return row, err
	}
	spec, err := marshal(d.spec)
	if err != nil {
		return row, err
	}
	automation, err := marshal(d.automation)
	if err != nil {
		return row, err
	}
	live := found && row.deleted == 0
	sameAutomation := live && string(row.automation) == string(automation)
	if sameAutomation && row.active == d.spec.GetActive() && string(row.spec) == string(spec) {
		return row, nil
	}
	// A schedule that did not change keeps counting: deploying every hour must not hold back what fires every day.
	if !sameAutomation || !row.active {
		row.scheduledFrom = micros(now)
	}
	if !live {
		row.deployed, row.deleted, row.settled, row.fired = micros(now), 0, 0, 0
	}
	row.spec, row.automation, row.active, row.taskVersion = spec, automation, d.spec.GetActive(), d.spec.GetTaskVersion()
	return writeRevision(tx, row, trigger.TriggerRevisionAction_TRIGGER_REVISION_ACTION_DEPLOY, now)
}

// setActive turns a trigger on or off; one that is so already stays untouched.
func setActive(tx store.WriteTx, row triggerRow, active bool, now time.Time) error {
	if row.active == active {
		return nil
	}
	row.active = active
	action := trigger.TriggerRevisionAction_TRIGGER_REVISION_ACTION_DEACTIVATE
	if active {
		row.scheduledFrom = micros(now) // what was missed while it was off is not missed
		action = trigger.TriggerRevisionAction_TRIGGER_REVISION_ACTION_ACTIVATE
	}
	_, err := writeRevision(tx, row, action, now)
	return err
}

// deleteTrigger leaves a tombstone, so that the other plane learns of it and revisions go on.
func deleteTrigger(tx store.WriteTx, row triggerRow, now time.Time) error {
	row.active, row.deleted = false, micros(now)
	_, err := writeRevision(tx, row, trigger.TriggerRevisionAction_TRIGGER_REVISION_ACTION_DELETE, now)
	return err
}

// writeRevision stores row as the next revision.
func writeRevision(tx store.WriteTx, row triggerRow, action trigger.TriggerRevisionAction, now time.Time) (triggerRow, error) {
	row.revision++
	row.updated = micros(now)
	var spec trigger.TriggerSpec
	if err := proto.Unmarshal(row.spec, &spec); err != nil {
		return row, err
	}
	catchUp := spec.GetRunSpec().GetAnnotations().GetValues()[schedule.CatchUp]
	_, err := tx.Exec(`INSERT INTO triggers (org, project, domain, task, name, revision, task_version, active, spec, automation, catch_up,
			deployed_at, updated_at, deleted_at, scheduled_from, settled_at, fired_at, seq)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (org, project, domain, task, name) DO UPDATE SET revision = excluded.revision, task_version = excluded.task_version,
			active = excluded.active, spec = excluded.spec, automation = excluded.automation, catch_up = excluded.catch_up,
			deployed_at = excluded.deployed_at, updated_at = excluded.updated_at, deleted_at = excluded.deleted_at,
			scheduled_from = excluded.scheduled_from, settled_at = excluded.settled_at, fired_at = excluded.fired_at, seq = excluded.seq`,
		append(triggerKey(row.id), row.revision, row.taskVersion, flag(row.active), row.spec, row.automation, catchUp, row.deployed, row.updated,
			row.deleted, row.scheduledFrom, row.settled, row.fired, tx.NextSeq())...)
	if err != nil {
		return row, err
	}
	if _, err := tx.Exec(`INSERT INTO trigger_revisions
		(org, project, domain, task, name, revision, action, active, spec, automation, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		append(triggerKey(row.id), row.revision, int32(action), flag(row.active), row.spec, row.automation, micros(now))...); err != nil {
		return row, err
	}
	_, err = tx.Exec(`DELETE FROM trigger_revisions`+whereTrigger+` AND revision <= ?`, append(triggerKey(row.id), row.revision-maxRevisions)...)
	return row, err
}

// replaceTriggers makes the drafts all the triggers that a task has.
func replaceTriggers(tx store.WriteTx, id names.Task, drafts []draft, now time.Time) error {
	old, err := liveTriggers(tx, id)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, d := range drafts {
		keep[d.id.Name] = true
		if _, err := deployTrigger(tx, d, now); err != nil {
			return err
		}
	}
	for _, row := range old {
		if !keep[row.id.Name] {
			if err := deleteTrigger(tx, row, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func liveTriggers(tx store.Tx, id names.Task) ([]triggerRow, error) {
	rows, err := tx.Query(`SELECT `+triggerColumns+` FROM triggers`+whereLiveTriggers, taskKey(id)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []triggerRow
	for rows.Next() {
		row, err := scanTrigger(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// Trigger returns what a trigger would run now, for a run that is started by its name.
func (r *Registry) Trigger(ctx context.Context, name *common.TriggerName) (*trigger.TriggerDetails, error) {
	id, err := triggerName("trigger_name", name)
	if err != nil {
		return nil, err
	}
	var details *trigger.TriggerDetails
	return details, r.db.Read(ctx, func(tx store.Tx) error {
		row, err := readTrigger(tx, id)
		if err != nil {
			return err
		}
		details, err = row.details()
		return err
	})
}
