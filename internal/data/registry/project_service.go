package registry

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/project/projectconnect"
	"biplane.dev/biplane/internal/data/listing"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// ProjectService answers flyteidl2.project.ProjectService.
type ProjectService struct{ r *Registry }

var _ projectconnect.ProjectServiceHandler = ProjectService{}

// NewProjectService serves the projects of r.
func NewProjectService(r *Registry) ProjectService { return ProjectService{r} }

// Limits of what a project says about itself, in bytes; labels are counted.
const (
	maxDisplayName   = 256
	maxDescription   = 2048
	maxProjectLabels = 64
)

func checkProject(p *project.Project) error {
	if err := names.Check("project.id", p.GetId()); err != nil {
		return err
	}
	if err := checkText("project.name", p.GetName(), maxDisplayName); err != nil {
		return err
	}
	if err := checkText("project.description", p.GetDescription(), maxDescription); err != nil {
		return err
	}
	labels := p.GetLabels().GetValues()
	if len(labels) > maxProjectLabels {
		return fault.Invalid("project.labels", "holds %d labels; at most %d are allowed", len(labels), maxProjectLabels)
	}
	for key, value := range labels {
		if key == "" {
			return fault.Invalid("project.labels", "holds a label without a key")
		}
		if err := checkText("project.labels", key, maxDisplayName); err != nil {
			return err
		}
		if err := checkText("project.labels", value, maxDisplayName); err != nil {
			return err
		}
	}
	if _, known := project.ProjectState_name[int32(p.GetState())]; !known {
		return fault.Invalid("project.state", "%d is not a state", int32(p.GetState()))
	}
	return nil
}

// checkText accepts text for people: any language, but no control characters that would break a terminal or a log.
func checkText(field, text string, most int) error {
	if len(text) > most {
		return fault.Invalid(field, "is %d bytes long; at most %d are allowed", len(text), most)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' || c == 0x7f }) {
		return fault.Invalid(field, "holds control characters")
	}
	return nil
}

// CreateProject creates a project with all domains.
func (s ProjectService) CreateProject(ctx context.Context, request *project.CreateProjectRequest) (*project.CreateProjectResponse, error) {
	p := request.GetProject()
	if err := checkProject(p); err != nil {
		return nil, err
	}
	err := s.r.db.Write(ctx, func(tx store.WriteTx) error {
		if _, found, err := readProject(tx, p.GetId()); err != nil {
			return err
		} else if found {
			return fault.New(fault.KindExists, "project %q exists already", p.GetId())
		}
		if p.GetName() == "" {
			p.Name = p.GetId()
		}
		return writeProject(tx, p, time.Now())
	})
	if err != nil {
		return nil, err
	}
	return &project.CreateProjectResponse{}, nil
}

// UpdateProject replaces everything but the id and the domains, which cannot be changed.
func (s ProjectService) UpdateProject(ctx context.Context, request *project.UpdateProjectRequest) (*project.UpdateProjectResponse, error) {
	p := request.GetProject()
	if err := checkProject(p); err != nil {
		return nil, err
	}
	if len(p.GetDomains()) > 0 {
		return nil, fault.Invalid("project.domains", "cannot be changed; leave it empty")
	}
	err := s.r.db.Write(ctx, func(tx store.WriteTx) error {
		if _, found, err := readProject(tx, p.GetId()); err != nil {
			return err
		} else if !found {
			return unknownProject(p.GetId())
		}
		return writeProject(tx, p, time.Now())
	})
	if err != nil {
		return nil, err
	}
	return &project.UpdateProjectResponse{}, nil
}

// GetProject returns one project, archived or not.
func (s ProjectService) GetProject(ctx context.Context, request *project.GetProjectRequest) (*project.GetProjectResponse, error) {
	if err := names.Check("id", request.GetId()); err != nil {
		return nil, err
	}
	response := &project.GetProjectResponse{}
	return response, s.r.db.Read(ctx, func(tx store.Tx) error {
		p, found, err := readProject(tx, request.GetId())
		if err == nil && !found {
			err = unknownProject(request.GetId())
		}
		response.Project = p
		return err
	})
}

var projectList = listing.List{
	Fields: map[string]listing.Field{
		"id":          {SQL: "id"},
		"identifier":  {SQL: "id"}, // the name of the column in older clients' filters
		"name":        {SQL: "name"},
		"description": {SQL: "description", Unsorted: true},
		"state":       {SQL: "state", Kind: listing.Number, Enum: project.ProjectState_value, EnumPrefix: "PROJECT_STATE_"},
		"created_at":  {SQL: "created_at", Kind: listing.Time},
		"updated_at":  {SQL: "updated_at", Kind: listing.Time},
	},
	Sort: "created_at", Ascending: true,
	Tie: []string{"id"},
}

// ListProjects lists projects; without a filter on the state only the ones that are not archived. Its filters are in the
// older grammar that listing.ParseV1 reads.
func (s ProjectService) ListProjects(ctx context.Context, request *project.ListProjectsRequest) (*project.ListProjectsResponse, error) {
	filters, err := listing.ParseV1("filters", request.GetFilters())
	if err != nil {
		return nil, err
	}
	if !mentions(filters, "state") {
		filters = append(filters, &common.Filter{Function: common.Filter_VALUE_NOT_IN, Field: "state", Values: []string{"ARCHIVED", "SYSTEM_ARCHIVED"}})
	}
	query, err := projectList.New(&common.ListRequest{Limit: request.GetLimit(), Token: request.GetToken(), SortBy: request.GetSortBy(), Filters: filters})
	if err != nil {
		return nil, err
	}
	page := &project.Projects{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		page.Token, err = query.Page(tx, projectColumns, "projects", "org = ?", []any{org()}, func(scan func(...any) error) error {
			p, err := scanProject(scan)
			page.Projects = append(page.Projects, p)
			return err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &project.ListProjectsResponse{Projects: page}, nil
}

func mentions(filters []*common.Filter, field string) bool {
	for _, f := range filters {
		if f.GetField() == field {
			return true
		}
	}
	return false
}
