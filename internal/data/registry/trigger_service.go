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
	"biplane.dev/biplane/gen/flyteidl2/trigger/triggerconnect"
	"biplane.dev/biplane/internal/data/listing"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// TriggerService answers flyteidl2.trigger.TriggerService.
type TriggerService struct{ r *Registry }

var _ triggerconnect.TriggerServiceHandler = TriggerService{}

// NewTriggerService serves the triggers of r.
func NewTriggerService(r *Registry) TriggerService { return TriggerService{r} }

// maxTriggerNames bounds one request that turns triggers on or off or deletes them.
const maxTriggerNames = 1000

// DeployTrigger creates a trigger of a deployed task or gives it a new revision. A revision in the request must be the
// current one; the SDK always sends 0, which matches any.
func (s TriggerService) DeployTrigger(ctx context.Context, request *trigger.DeployTriggerRequest) (*trigger.DeployTriggerResponse, error) {
	id, err := triggerName("name", request.GetName())
	if err != nil {
		return nil, err
	}
	spec, ok := proto.CloneOf(request.GetSpec()), request.GetSpec() != nil
	if !ok {
		spec = &trigger.TriggerSpec{}
	}
	version := spec.GetTaskVersion()
	if version != "" {
		if err := names.Check("spec.task_version", version); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	d, err := newDraft("", id, spec, request.GetAutomationSpec(), now)
	if err != nil {
		return nil, err
	}
	response := &trigger.DeployTriggerResponse{}
	err = s.r.db.Write(ctx, func(tx store.WriteTx) error {
		if err := accepting(tx, id.Project); err != nil {
			return err
		}
		deployed, err := readTask(tx, names.Task{Project: id.Project, Name: id.Task, Version: version})
		if err != nil {
			return err
		}
		spec.TaskVersion = deployed.id.Version
		taskSpec, err := readSpec(tx, deployed.digest)
		if err != nil {
			return err
		}
		if err := checkKickoff("", d, taskSpec); err != nil {
			return err
		}
		if expected := request.GetRevision(); expected != 0 {
			if row, _, err := findTrigger(tx, id); err != nil {
				return err
			} else if uint64(row.revision) != expected {
				return fault.New(fault.KindAborted, "trigger %q is at revision %d, not at %d: somebody changed it meanwhile; read it again",
					id.Name, row.revision, expected)
			}
		}
		row, err := deployTrigger(tx, d, now)
		if err != nil {
			return err
		}
		response.Trigger, err = row.details()
		return err
	})
	if err != nil {
		return nil, err
	}
	s.r.triggersChanged()
	return response, nil
}

// GetTriggerDetails returns a trigger at its current revision.
func (s TriggerService) GetTriggerDetails(ctx context.Context, request *trigger.GetTriggerDetailsRequest) (*trigger.GetTriggerDetailsResponse, error) {
	id, err := triggerName("name", request.GetName())
	if err != nil {
		return nil, err
	}
	response := &trigger.GetTriggerDetailsResponse{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		row, err := readTrigger(tx, id)
		if err != nil {
			return err
		}
		response.Trigger, err = row.details()
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// GetTriggerRevisionDetails returns a trigger as it was at a revision, also one that was deleted since.
func (s TriggerService) GetTriggerRevisionDetails(ctx context.Context, request *trigger.GetTriggerRevisionDetailsRequest) (*trigger.GetTriggerRevisionDetailsResponse, error) {
	id, err := triggerName("id.name", request.GetId().GetName())
	if err != nil {
		return nil, err
	}
	response := &trigger.GetTriggerRevisionDetailsResponse{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		row, found, err := findTrigger(tx, id)
		if err != nil {
			return err
		}
		row.revision = int64(request.GetId().GetRevision())
		err = tx.QueryRow(`SELECT active, spec, automation, created_at FROM trigger_revisions`+whereTrigger+` AND revision = ?`,
			append(triggerKey(id), row.revision)...).
			Scan(&row.active, &row.spec, &row.automation, &row.updated)
		if errors.Is(err, store.ErrNoRows) || !found {
			return fault.New(fault.KindNotFound, "trigger %q of task %q has no revision %d, or it is too old and was dropped",
				id.Name, id.Task, row.revision)
		}
		if err != nil {
			return err
		}
		response.Trigger, err = row.details()
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (row triggerRow) identifier() *common.TriggerIdentifier {
	return &common.TriggerIdentifier{
		Name:     &common.TriggerName{Org: row.id.Org, Project: row.id.Project.Project, Domain: row.id.Domain, TaskName: row.id.Task, Name: row.id.Name},
		Revision: uint64(row.revision),
	}
}

func (row triggerRow) status() *trigger.TriggerStatus {
	return &trigger.TriggerStatus{
		DeployedAt:  timestamp(row.deployed),
		UpdatedAt:   timestamp(row.updated),
		TriggeredAt: timestamp(row.fired),
		DeletedAt:   timestamp(row.deleted),
	}
}

func (row triggerRow) automationSpec() (*task.TriggerAutomationSpec, error) {
	automation := &task.TriggerAutomationSpec{}
	if err := proto.Unmarshal(row.automation, automation); err != nil {
		return nil, fmt.Errorf("automation of trigger %s of %s: %w", row.id.Name, row.id.Task, err)
	}
	return automation, nil
}

func (row triggerRow) details() (*trigger.TriggerDetails, error) {
	spec := &trigger.TriggerSpec{}
	if err := proto.Unmarshal(row.spec, spec); err != nil {
		return nil, fmt.Errorf("spec of trigger %s of %s: %w", row.id.Name, row.id.Task, err)
	}
	spec.Active = row.active // the row knows what was turned on or off since
	automation, err := row.automationSpec()
	details := &trigger.TriggerDetails{
		Id: row.identifier(), Metadata: &trigger.TriggerMetadata{}, Spec: spec, Status: row.status(), AutomationSpec: automation,
	}
	if spec.GetDescription() != "" {
		details.Description = proto.String(spec.GetDescription())
	}
	return details, err
}

var triggerList = listing.List{
	Fields: map[string]listing.Field{
		"name":         {SQL: "name"},
		"task_name":    {SQL: "task"},
		"task_version": {SQL: "task_version"},
		"active":       {SQL: "active", Kind: listing.Bool},
		"created_at":   {SQL: "deployed_at", Kind: listing.Time},
		"deployed_at":  {SQL: "deployed_at", Kind: listing.Time},
		"updated_at":   {SQL: "updated_at", Kind: listing.Time},
		"triggered_at": {SQL: "fired_at", Kind: listing.Time},
	},
	Sort: "created_at",
	Tie:  []string{"project", "domain", "task", "name"},
}

// ListTriggers lists the triggers of the organisation, a project's domain, a task, or a version of a task.
func (s TriggerService) ListTriggers(ctx context.Context, request *trigger.ListTriggersRequest) (*trigger.ListTriggersResponse, error) {
	query, err := triggerList.New(request.GetRequest())
	if err != nil {
		return nil, err
	}
	within, scope, args, err := triggerScope(request)
	if err != nil {
		return nil, err
	}
	response := &trigger.ListTriggersResponse{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		if within != nil {
			if _, err := existing(tx, *within); err != nil {
				return err
			}
		}
		var err error
		response.Token, err = query.Page(tx, triggerColumns, "triggers", scope+" AND deleted_at = 0", args, func(scan func(...any) error) error {
			row, err := scanTrigger(scan)
			if err != nil {
				return err
			}
			automation, err := row.automationSpec()
			response.Triggers = append(response.Triggers, &trigger.Trigger{
				Id: row.identifier(), Metadata: &trigger.TriggerMetadata{}, Status: row.status(), Active: row.active, AutomationSpec: automation,
			})
			return err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// triggerScope is the condition of a list's scope, and the project that it is within, nil for the organisation.
func triggerScope(request *trigger.ListTriggersRequest) (*names.Project, string, []any, error) {
	var id *task.TaskIdentifier
	field := "task_id"
	switch scope := request.GetScopeBy().(type) {
	case *trigger.ListTriggersRequest_TaskId:
		id = scope.TaskId
	case *trigger.ListTriggersRequest_TaskName:
		name := scope.TaskName
		id, field = &task.TaskIdentifier{Project: name.GetProject(), Domain: name.GetDomain(), Name: name.GetName()}, "task_name"
	default:
		return listScope(request.GetProjectId())
	}
	name, err := TaskName(field, id, false)
	scope, args := "org = ? AND project = ? AND domain = ? AND task = ?", []any{org(), name.Project.Project, name.Domain, name.Name}
	if name.Version != "" {
		scope, args = scope+" AND task_version = ?", append(args, name.Version)
	}
	return &name.Project, scope, args, err
}

var revisionList = listing.List{
	Fields: map[string]listing.Field{
		"revision":   {SQL: "revision", Kind: listing.Number},
		"created_at": {SQL: "created_at", Kind: listing.Time},
		"action":     {SQL: "action", Kind: listing.Number, Enum: trigger.TriggerRevisionAction_value, EnumPrefix: "TRIGGER_REVISION_ACTION_"},
	},
	Sort: "revision",
	Tie:  []string{"revision"},
}

// GetTriggerRevisionHistory lists the revisions of a trigger, the newest first.
func (s TriggerService) GetTriggerRevisionHistory(ctx context.Context, request *trigger.GetTriggerRevisionHistoryRequest) (*trigger.GetTriggerRevisionHistoryResponse, error) {
	id, err := triggerName("name", request.GetName())
	if err != nil {
		return nil, err
	}
	query, err := revisionList.New(request.GetRequest())
	if err != nil {
		return nil, err
	}
	response := &trigger.GetTriggerRevisionHistoryResponse{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		row, found, err := findTrigger(tx, id)
		if err == nil && !found {
			_, err = readTrigger(tx, id) // says what is missing
		}
		if err != nil {
			return err
		}
		scope := "org = ? AND project = ? AND domain = ? AND task = ? AND name = ?"
		response.Token, err = query.Page(tx, "action, created_at, revision", "trigger_revisions", scope, triggerKey(id), func(scan func(...any) error) error {
			var action int32
			var created int64
			err := scan(&action, &created, &row.revision)
			response.Triggers = append(response.Triggers, &trigger.TriggerRevision{
				Id: row.identifier(), Metadata: &trigger.TriggerMetadata{}, Action: trigger.TriggerRevisionAction(action), CreatedAt: timestamp(created),
				Status: &trigger.TriggerStatus{DeployedAt: timestamp(row.deployed), UpdatedAt: timestamp(created)},
			})
			return err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// UpdateTriggers turns triggers on or off: all of the named ones, or none when one does not exist.
func (s TriggerService) UpdateTriggers(ctx context.Context, request *trigger.UpdateTriggersRequest) (*trigger.UpdateTriggersResponse, error) {
	now := time.Now()
	err := s.change(ctx, request.GetNames(), func(tx store.WriteTx, row triggerRow) error {
		return setActive(tx, row, request.GetActive(), now)
	})
	if err != nil {
		return nil, err
	}
	return &trigger.UpdateTriggersResponse{}, nil
}

// DeleteTriggers deletes triggers: all of the named ones, or none when one does not exist.
func (s TriggerService) DeleteTriggers(ctx context.Context, request *trigger.DeleteTriggersRequest) (*trigger.DeleteTriggersResponse, error) {
	now := time.Now()
	err := s.change(ctx, request.GetNames(), func(tx store.WriteTx, row triggerRow) error {
		return deleteTrigger(tx, row, now)
	})
	if err != nil {
		return nil, err
	}
	return &trigger.DeleteTriggersResponse{}, nil
}

func (s TriggerService) change(ctx context.Context, requested []*common.TriggerName, apply func(store.WriteTx, triggerRow) error) error {
	if n := len(requested); n == 0 || n > maxTriggerNames {
		return fault.Invalid("names", "holds %d triggers; 1 to %d are allowed", n, maxTriggerNames)
	}
	ids := make([]names.Trigger, len(requested))
	for i, name := range requested {
		var err error
		if ids[i], err = triggerName(fmt.Sprintf("names[%d]", i), name); err != nil {
			return err
		}
	}
	err := s.r.db.Write(ctx, func(tx store.WriteTx) error {
		for _, id := range ids {
			row, err := readTrigger(tx, id)
			if err != nil {
				return err
			}
			if err := apply(tx, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.r.triggersChanged()
	}
	return err
}
