package registry_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

func listProjects(t *testing.T, p plane, request *project.ListProjectsRequest) []string {
	t.Helper()
	var ids []string
	for {
		page := must[*project.ListProjectsResponse](t)(p.projects.ListProjects(t.Context(), request)).GetProjects()
		for _, one := range page.GetProjects() {
			ids = append(ids, one.GetId())
		}
		if page.GetToken() == "" {
			return ids
		}
		request.Token = page.GetToken()
	}
}

func TestProjectsOfANewPlane(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db, r := open(t, path)
	for _, domain := range []string{"development", "staging", "production"} {
		for _, id := range []string{"flytesnacks", "system"} {
			if err := r.Exists(t.Context(), names.Project{Org: names.Org, Project: id, Domain: domain}); err != nil {
				t.Error(err)
			}
		}
	}
	seq := db.Seq()
	db.Close()
	if again, _ := open(t, path); again.Seq() != seq {
		t.Errorf("a second start changed rows: %d, then %d", seq, again.Seq())
	}
}

func TestProjectLife(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	created := &project.Project{Id: "ships", Name: "Schiffe ⚓", Description: "All ships.", Labels: &task.Labels{Values: map[string]string{"team": "blue"}}}
	must[*project.CreateProjectResponse](t)(p.projects.CreateProject(ctx, &project.CreateProjectRequest{Project: created}))
	_, err := p.projects.CreateProject(ctx, &project.CreateProjectRequest{Project: created})
	refused(t, err, connect.CodeAlreadyExists, "ships")

	got := must[*project.GetProjectResponse](t)(p.projects.GetProject(ctx, &project.GetProjectRequest{Id: "ships"})).GetProject()
	if got.GetName() != "Schiffe ⚓" || got.GetLabels().GetValues()["team"] != "blue" || len(got.GetDomains()) != 3 || got.GetState() != project.ProjectState_PROJECT_STATE_ACTIVE {
		t.Fatalf("got %v", got)
	}

	// The SDK updates by reading, clearing the domains and writing everything back.
	_, err = p.projects.UpdateProject(ctx, &project.UpdateProjectRequest{Project: got})
	refused(t, err, connect.CodeInvalidArgument, "project.domains")
	got.Domains, got.State = nil, project.ProjectState_PROJECT_STATE_ARCHIVED
	must[*project.UpdateProjectResponse](t)(p.projects.UpdateProject(ctx, &project.UpdateProjectRequest{Project: got}))
	equal(t, "active", listProjects(t, p, &project.ListProjectsRequest{Filters: "eq(state, 0)"}), []string{"flytesnacks", "system"})
	equal(t, "archived", listProjects(t, p, &project.ListProjectsRequest{Filters: "eq(state, 1)"}), []string{"ships"})
	equal(t, "default", listProjects(t, p, &project.ListProjectsRequest{}), []string{"flytesnacks", "system"})

	scope := names.Project{Org: names.Org, Project: "ships", Domain: "staging"}
	if err := p.registry.Exists(ctx, scope); err != nil {
		t.Errorf("an archived project can be read: %v", err)
	}
	if err := p.registry.Accepts(ctx, scope); !fault.Is(err, fault.KindPrecondition) {
		t.Errorf("an archived project takes no work: %v", err)
	}
	got.State = project.ProjectState_PROJECT_STATE_ACTIVE
	must[*project.UpdateProjectResponse](t)(p.projects.UpdateProject(ctx, &project.UpdateProjectRequest{Project: got}))
	if err := p.registry.Accepts(ctx, scope); err != nil {
		t.Error(err)
	}
}

func TestProjectListPagesAndFilters(t *testing.T) {
	t.Parallel()
	p := serve(t)
	for i := range 5 {
		must[*project.CreateProjectResponse](t)(p.projects.CreateProject(t.Context(), &project.CreateProjectRequest{Project: &project.Project{Id: fmt.Sprintf("p%d", i)}}))
	}
	down := &common.Sort{Key: "name", Direction: common.Sort_DESCENDING}
	equal(t, "by name", listProjects(t, p, &project.ListProjectsRequest{Limit: 2, SortBy: down}), []string{"system", "p4", "p3", "p2", "p1", "p0", "flytesnacks"})
	equal(t, "combined", listProjects(t, p, &project.ListProjectsRequest{Filters: "value_in(id, p1;p3;p9)+eq(state, 0)"}), []string{"p1", "p3"})
	_, err := p.projects.ListProjects(t.Context(), &project.ListProjectsRequest{Filters: "state == 0"})
	refused(t, err, connect.CodeInvalidArgument, "filters", "eq(state, 0)")
	_, err = p.projects.ListProjects(t.Context(), &project.ListProjectsRequest{SortBy: &common.Sort{Key: "labels"}})
	refused(t, err, connect.CodeInvalidArgument, "sort_by.key", "created_at")
	_, err = p.projects.ListProjects(t.Context(), &project.ListProjectsRequest{Token: "nonsense"})
	refused(t, err, connect.CodeInvalidArgument, "token")
}

func TestBadProjects(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	if n := p.changes(func() {
		for _, id := range badNames {
			_, err := p.projects.CreateProject(ctx, &project.CreateProjectRequest{Project: &project.Project{Id: id}})
			refused(t, err, connect.CodeInvalidArgument, "project.id")
			_, err = p.projects.GetProject(ctx, &project.GetProjectRequest{Id: id})
			refused(t, err, connect.CodeInvalidArgument, "id")
		}
		_, err := p.projects.CreateProject(ctx, &project.CreateProjectRequest{Project: &project.Project{Id: "x", Name: "bell\a"}})
		refused(t, err, connect.CodeInvalidArgument, "project.name")
		_, err = p.projects.CreateProject(ctx, &project.CreateProjectRequest{Project: &project.Project{Id: "x", State: 77}})
		refused(t, err, connect.CodeInvalidArgument, "project.state")
		_, err = p.projects.CreateProject(ctx, &project.CreateProjectRequest{})
		refused(t, err, connect.CodeInvalidArgument, "project.id")
		_, err = p.projects.UpdateProject(ctx, &project.UpdateProjectRequest{Project: &project.Project{Id: "nobody"}})
		refused(t, err, connect.CodeNotFound, "nobody", "flyte create project")
	}); n != 0 {
		t.Errorf("refused requests changed %d rows", n)
	}
	err := p.registry.Exists(ctx, names.Project{Org: names.Org, Project: "flytesnacks", Domain: "moon"})
	if !fault.Is(err, fault.KindNotFound) || err.Error() != `domain "moon" does not exist; use one of development, staging, production` {
		t.Error(err)
	}
}
