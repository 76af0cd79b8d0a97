package registry

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/task/taskconnect"
	"biplane.dev/biplane/internal/data/listing"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// TaskService answers flyteidl2.task.TaskService.
type TaskService struct {
	r     *Registry
	check func(field string, spec *task.TaskSpec) error
}

var _ taskconnect.TaskServiceHandler = TaskService{}

// NewTaskService serves the tasks of r. check refuses what the plane could never run, so that one hears of it when it is
// deployed and not when it fires at night; nil refuses nothing.
func NewTaskService(r *Registry, check func(field string, spec *task.TaskSpec) error) TaskService {
	return TaskService{r, check}
}

// TaskName checks the identifier of a task in a request. versioned says that a version must be given.
func TaskName(field string, id *task.TaskIdentifier, versioned bool) (names.Task, error) {
	scope, err := names.NewProject(id.GetProject(), id.GetDomain())
	if err != nil {
		return names.Task{}, err
	}
	if err := names.Check(field+".name", id.GetName()); err != nil {
		return names.Task{}, err
	}
	if versioned || id.GetVersion() != "" {
		if err := names.Check(field+".version", id.GetVersion()); err != nil {
			return names.Task{}, err
		}
	}
	return names.Task{Project: scope, Name: id.GetName(), Version: id.GetVersion()}, nil
}

// maxTriggersOfTask bounds one deployment.
const maxTriggersOfTask = 1000

// DeployTask keeps a version of a task and replaces the task's triggers by the given ones: with none, none is left. All
// of it happens or nothing.
func (s TaskService) DeployTask(ctx context.Context, request *task.DeployTaskRequest) (*task.DeployTaskResponse, error) {
	id, err := TaskName("task_id", request.GetTaskId(), true)
	if err != nil {
		return nil, err
	}
	if n := len(request.GetTriggers()); n > maxTriggersOfTask {
		return nil, fault.Invalid("triggers", "holds %d triggers; a task has at most %d", n, maxTriggersOfTask)
	}
	if s.check != nil {
		if err := s.check("spec", request.GetSpec()); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	drafts, err := taskTriggers(id, request, now)
	if err != nil {
		return nil, err
	}
	err = s.r.db.Write(ctx, func(tx store.WriteTx) error {
		if err := accepting(tx, id.Project); err != nil {
			return err
		}
		if err := deployTask(tx, id, request.GetSpec(), now); err != nil {
			return err
		}
		return replaceTriggers(tx, id, drafts, now)
	})
	if err != nil {
		return nil, err
	}
	s.r.triggersChanged()
	return &task.DeployTaskResponse{}, nil
}

// GetTaskDetails returns one version of a task; without a version the latest.
func (s TaskService) GetTaskDetails(ctx context.Context, request *task.GetTaskDetailsRequest) (*task.GetTaskDetailsResponse, error) {
	id, err := TaskName("task_id", request.GetTaskId(), false)
	if err != nil {
		return nil, err
	}
	details := &task.TaskDetails{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		row, err := readTask(tx, id)
		if err != nil {
			return err
		}
		if details.Spec, err = readSpec(tx, row.digest); err != nil {
			return err
		}
		details.TaskId = row.identifier()
		details.Metadata, err = row.metadata(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &task.GetTaskDetailsResponse{Details: details}, nil
}

func (row taskRow) identifier() *task.TaskIdentifier {
	return &task.TaskIdentifier{Org: row.id.Org, Project: row.id.Project.Project, Domain: row.id.Domain, Name: row.id.Name, Version: row.id.Version}
}

func (row taskRow) metadata(tx store.Tx) (*task.TaskMetadata, error) {
	summary, err := triggersSummary(tx, row.id)
	return &task.TaskMetadata{
		ShortName:        row.shortName,
		DeployedAt:       timestamp(row.created),
		EnvironmentName:  row.environment,
		ShortDescription: row.description,
		TriggersSummary:  summary,
	}, err
}

// triggersSummary describes the only trigger of a task, or counts several; nil without any.
func triggersSummary(tx store.Tx, id names.Task) (*task.TaskTriggersSummary, error) {
	rows, err := tx.Query(`SELECT name, active, automation FROM triggers`+whereLiveTriggers, taskKey(id)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	stats := &task.TaskTriggersSummary_TriggerStats{}
	only := &task.TaskTriggersSummary_TriggerDetails{AutomationSpec: &task.TriggerAutomationSpec{}}
	for rows.Next() {
		var automation []byte
		if err := rows.Scan(&only.Name, &only.Active, &automation); err != nil {
			return nil, err
		}
		if err := proto.Unmarshal(automation, only.AutomationSpec); err != nil {
			return nil, err
		}
		stats.Total++
		if only.GetActive() {
			stats.Active++
		}
	}
	switch stats.GetTotal() {
	case 0:
		return nil, rows.Err()
	case 1:
		return &task.TaskTriggersSummary{Summary: &task.TaskTriggersSummary_Details{Details: only}}, rows.Err()
	default:
		return &task.TaskTriggersSummary{Summary: &task.TaskTriggersSummary_Stats{Stats: stats}}, rows.Err()
	}
}

var taskList = listing.List{
	Fields: map[string]listing.Field{
		"name":             {SQL: "name"},
		"task_name":        {SQL: "name"},
		"version":          {SQL: "version"},
		"short_name":       {SQL: "short_name"},
		"environment":      {SQL: "environment"},
		"environment_name": {SQL: "environment"},
		"created_at":       {SQL: "created_at", Kind: listing.Time},
		"deployed_at":      {SQL: "created_at", Kind: listing.Time},
	},
	Sort: "created_at",
	Tie:  []string{"project", "domain", "name", "version"},
}

// ListTasks lists tasks, one row for each with its latest version. A request that asks for one name or version gets every
// version that fits: that is how the SDK's CLI shows the versions of a task, and with limit 1 how it finds the latest.
func (s TaskService) ListTasks(ctx context.Context, request *task.ListTasksRequest) (*task.ListTasksResponse, error) {
	query, err := taskList.New(request.GetRequest())
	if err != nil {
		return nil, err
	}
	within, scope, args, err := listScope(request.GetProjectId())
	if err != nil {
		return nil, err
	}
	if !wantsVersions(request.GetRequest().GetFilters()) {
		scope += " AND latest = 1"
	}
	for _, known := range request.GetKnownFilters() {
		if by, ok := known.GetFilterBy().(*task.ListTasksRequest_KnownFilter_IsEntrypoint); ok {
			scope, args = scope+" AND entrypoint = ?", append(args, flag(by.IsEntrypoint))
		} else {
			return nil, fault.Invalid("known_filters", "filters by who deployed a task are not served; is_entrypoint is")
		}
	}
	response := &task.ListTasksResponse{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		if within != nil {
			if _, err := existing(tx, *within); err != nil {
				return err
			}
		}
		var rows []taskRow
		if response.Token, err = query.Page(tx, taskColumns, "tasks", scope, args, func(scan func(...any) error) error {
			row, err := scanTask(scan)
			rows = append(rows, row)
			return err
		}); err != nil {
			return err
		}
		for _, row := range rows {
			metadata, err := row.metadata(tx)
			if err != nil {
				return err
			}
			response.Tasks = append(response.Tasks, &task.Task{TaskId: row.identifier(), Metadata: metadata})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func wantsVersions(filters []*common.Filter) bool {
	for _, f := range filters {
		named := f.GetField() == "name" || f.GetField() == "task_name"
		if f.GetField() == "version" || named && f.GetFunction() == common.Filter_EQUAL {
			return true
		}
	}
	return false
}

// listScope is the condition of a list's scope: one project's domain, or the whole organisation (a nil project). The SDK
// sets both; the project arrives, since it is written last into the same oneof.
func listScope(id *common.ProjectIdentifier) (*names.Project, string, []any, error) {
	if id == nil {
		return nil, "org = ?", []any{org()}, nil
	}
	scope, err := names.NewProject(id.GetName(), id.GetDomain())
	return &scope, "org = ? AND project = ? AND domain = ?", []any{scope.Org, scope.Project, scope.Domain}, err
}

var versionList = listing.List{
	Fields: map[string]listing.Field{
		"version":     {SQL: "version"},
		"created_at":  {SQL: "created_at", Kind: listing.Time},
		"deployed_at": {SQL: "created_at", Kind: listing.Time},
	},
	Sort: "created_at",
	Tie:  []string{"version"},
}

// ListVersions lists the versions of one task.
func (s TaskService) ListVersions(ctx context.Context, request *task.ListVersionsRequest) (*task.ListVersionsResponse, error) {
	name := request.GetTaskName()
	id, err := TaskName("task_name", &task.TaskIdentifier{Project: name.GetProject(), Domain: name.GetDomain(), Name: name.GetName()}, false)
	if err != nil {
		return nil, err
	}
	query, err := versionList.New(request.GetRequest())
	if err != nil {
		return nil, err
	}
	response := &task.ListVersionsResponse{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		if _, err := readTask(tx, id); err != nil {
			return err
		}
		var err error
		response.Token, err = query.Page(tx, "version, created_at", "tasks", "org = ? AND project = ? AND domain = ? AND name = ?",
			[]any{org(), id.Project.Project, id.Domain, id.Name}, func(scan func(...any) error) error {
				version, created := &task.ListVersionsResponse_VersionResponse{}, int64(0)
				err := scan(&version.Version, &created)
				version.DeployedAt = timestamp(created)
				response.Versions = append(response.Versions, version)
				return err
			})
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
