package registry_test

import (
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

var development = names.Project{Org: names.Org, Project: "flytesnacks", Domain: "development"}

func taskID(name, version string) *task.TaskIdentifier {
	return &task.TaskIdentifier{Org: "127", Project: "flytesnacks", Domain: "development", Name: name, Version: version}
}

// spec is a task with one input "at"; content makes it differ from others.
func spec(content string) *task.TaskSpec {
	return &task.TaskSpec{
		ShortName:   "main",
		Environment: &task.Environment{Name: "hello"},
		TaskTemplate: &core.TaskTemplate{
			Type:      "python",
			Metadata:  &core.TaskMetadata{IsEntrypoint: strings.HasPrefix(content, "entry")},
			Interface: &core.TypedInterface{Inputs: &core.VariableMap{Variables: []*core.VariableEntry{{Key: "at", Value: &core.Variable{}}}}},
			Target:    &core.TaskTemplate_Container{Container: &core.Container{Args: []string{content}}},
		},
	}
}

func deploy(t *testing.T, p plane, name, version, content string, triggers ...*task.TaskTrigger) {
	t.Helper()
	must[*task.DeployTaskResponse](t)(p.tasks.DeployTask(t.Context(), &task.DeployTaskRequest{TaskId: taskID(name, version), Spec: spec(content), Triggers: triggers}))
}

// listTasks returns "name version" of every task of a list.
func listTasks(t *testing.T, p plane, list *common.ListRequest, known ...*task.ListTasksRequest_KnownFilter) []string {
	t.Helper()
	var got []string
	for {
		page := must[*task.ListTasksResponse](t)(p.tasks.ListTasks(t.Context(), &task.ListTasksRequest{
			Request: list, KnownFilters: known,
			ScopeBy: &task.ListTasksRequest_ProjectId{ProjectId: &common.ProjectIdentifier{Name: "flytesnacks", Domain: "development"}},
		}))
		for _, one := range page.GetTasks() {
			got = append(got, one.GetTaskId().GetName()+" "+one.GetTaskId().GetVersion())
		}
		if page.GetToken() == "" {
			return got
		}
		list = proto.CloneOf(list)
		list.Token = page.GetToken()
	}
}

func TestDeployAndLatest(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	deploy(t, p, "hello.main", "v1", "one")
	deploy(t, p, "hello.main", "v2", "two")
	latest := func() string {
		id := must[names.Task](t)(p.registry.Latest(ctx, names.Task{Project: development, Name: "hello.main"}))
		// What the SDK does for auto_version="latest".
		list := listTasks(t, p, &common.ListRequest{Limit: 1, SortBy: &common.Sort{Key: "created_at"}, Filters: []*common.Filter{{Field: "name", Values: []string{"hello.main"}}}})
		if list[0] != "hello.main "+id.Version {
			t.Errorf("the list says %s, the registry %s", list[0], id.Version)
		}
		return id.Version
	}
	if v := latest(); v != "v2" {
		t.Errorf("latest is %s", v)
	}
	if n := p.changes(func() { deploy(t, p, "hello.main", "v2", "two") }); n != 0 {
		t.Errorf("deploying the latest again changed %d rows", n)
	}
	deploy(t, p, "hello.main", "v1", "one") // a roll-back
	if v := latest(); v != "v1" {
		t.Errorf("latest after the roll-back is %s", v)
	}
	_, err := p.tasks.DeployTask(ctx, &task.DeployTaskRequest{TaskId: taskID("hello.main", "v1"), Spec: spec("other")})
	refused(t, err, connect.CodeAlreadyExists, "hello.main", "v1", "other content")

	details := must[*task.GetTaskDetailsResponse](t)(p.tasks.GetTaskDetails(ctx, &task.GetTaskDetailsRequest{TaskId: taskID("hello.main", "v2")})).GetDetails()
	if !proto.Equal(details.GetSpec(), spec("two")) || details.GetTaskId().GetVersion() != "v2" || details.GetMetadata().GetDeployedAt() == nil || details.GetMetadata().GetEnvironmentName() != "hello" {
		t.Errorf("got %v", details)
	}
	for name, version := range map[string]string{"hello.main": "v9", "nobody": "v1"} {
		_, err := p.tasks.GetTaskDetails(ctx, &task.GetTaskDetailsRequest{TaskId: taskID(name, version)})
		refused(t, err, connect.CodeNotFound, name, "flyte deploy")
	}
}

func TestListTasks(t *testing.T) {
	t.Parallel()
	p := serve(t)
	for i := range 3 {
		for v := range 3 {
			deploy(t, p, fmt.Sprintf("env%d.f", i), fmt.Sprintf("v%d", v), fmt.Sprintf("%s %d %d", []string{"entry", "inner", "inner"}[i], i, v))
		}
	}
	byName := &common.Sort{Key: "name", Direction: common.Sort_ASCENDING}
	equal(t, "one row per task", listTasks(t, p, &common.ListRequest{SortBy: byName, Limit: 2}), []string{"env0.f v2", "env1.f v2", "env2.f v2"})
	equal(t, "newest first by default", listTasks(t, p, &common.ListRequest{}), []string{"env2.f v2", "env1.f v2", "env0.f v2"})
	equal(t, "versions of a name", listTasks(t, p, &common.ListRequest{Limit: 1, Filters: []*common.Filter{{Field: "name", Values: []string{"env1.f"}}}}), []string{"env1.f v2", "env1.f v1", "env1.f v0"})
	equal(t, "an environment", listTasks(t, p, &common.ListRequest{Filters: []*common.Filter{{Function: common.Filter_CONTAINS, Field: "name", Values: []string{"env2."}}}}), []string{"env2.f v2"})
	equal(t, "entry points", listTasks(t, p, &common.ListRequest{}, &task.ListTasksRequest_KnownFilter{FilterBy: &task.ListTasksRequest_KnownFilter_IsEntrypoint{IsEntrypoint: true}}), []string{"env0.f v2"})

	versions := must[*task.ListVersionsResponse](t)(p.tasks.ListVersions(t.Context(), &task.ListVersionsRequest{TaskName: &task.TaskName{Project: "flytesnacks", Domain: "development", Name: "env1.f"}}))
	var got []string
	for _, v := range versions.GetVersions() {
		got = append(got, v.GetVersion())
	}
	equal(t, "ListVersions", got, []string{"v2", "v1", "v0"})

	whole := must[*task.ListTasksResponse](t)(p.tasks.ListTasks(t.Context(), &task.ListTasksRequest{ScopeBy: &task.ListTasksRequest_Org{Org: "whatever"}}))
	if len(whole.GetTasks()) != 3 {
		t.Errorf("the organisation has %d tasks", len(whole.GetTasks()))
	}
	_, err := p.tasks.ListTasks(t.Context(), &task.ListTasksRequest{ScopeBy: &task.ListTasksRequest_ProjectId{ProjectId: &common.ProjectIdentifier{Name: "nobody", Domain: "development"}}})
	refused(t, err, connect.CodeNotFound, "nobody")
}

func TestBadTasks(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	archived := &project.Project{Id: "old", State: project.ProjectState_PROJECT_STATE_ARCHIVED}
	must[*project.CreateProjectResponse](t)(p.projects.CreateProject(ctx, &project.CreateProjectRequest{Project: archived}))
	if n := p.changes(func() {
		for _, bad := range badNames {
			for _, id := range []*task.TaskIdentifier{
				{Project: bad, Domain: "development", Name: "n", Version: "v"},
				{Project: "flytesnacks", Domain: bad, Name: "n", Version: "v"},
				{Project: "flytesnacks", Domain: "development", Name: bad, Version: "v"},
				{Project: "flytesnacks", Domain: "development", Name: "n", Version: bad},
			} {
				_, err := p.tasks.DeployTask(ctx, &task.DeployTaskRequest{TaskId: id, Spec: spec("x")})
				refused(t, err, connect.CodeInvalidArgument)
			}
		}
		_, err := p.tasks.DeployTask(ctx, &task.DeployTaskRequest{TaskId: &task.TaskIdentifier{Project: "nobody", Domain: "development", Name: "n", Version: "v"}, Spec: spec("x")})
		refused(t, err, connect.CodeNotFound, "nobody")
		_, err = p.tasks.DeployTask(ctx, &task.DeployTaskRequest{TaskId: &task.TaskIdentifier{Project: "old", Domain: "development", Name: "n", Version: "v"}, Spec: spec("x")})
		refused(t, err, connect.CodeFailedPrecondition, "archived", "--unarchive")
		_, err = p.tasks.DeployTask(ctx, &task.DeployTaskRequest{TaskId: taskID("n", "v")})
		refused(t, err, connect.CodeInvalidArgument, "spec.task_template")
		_, err = p.tasks.DeployTask(ctx, &task.DeployTaskRequest{TaskId: taskID("n", "v"), Spec: spec(strings.Repeat("x", 9<<20))})
		refused(t, err, connect.CodeResourceExhausted, "spec")
	}); n != 0 {
		t.Errorf("refused requests changed %d rows", n)
	}
}

func TestSpecsAreKeptOnce(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	first := must[string](t)(p.registry.PutSpec(ctx, spec("same")))
	second := must[string](t)(p.registry.PutSpec(ctx, spec("same")))
	other := must[string](t)(p.registry.PutSpec(ctx, spec("other")))
	if first != second || first == other {
		t.Errorf("digests %s, %s, %s", first, second, other)
	}
	if got := must[*task.TaskSpec](t)(p.registry.Spec(ctx, first)); !proto.Equal(got, spec("same")) {
		t.Errorf("got %v", got)
	}
	if _, err := p.registry.Spec(ctx, "nothing"); !fault.Is(err, fault.KindNotFound) {
		t.Error(err)
	}
}
