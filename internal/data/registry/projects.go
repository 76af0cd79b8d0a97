package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// Exists says whether a project and its domain exist; archived ones do. The error is a fault of KindNotFound that says
// what to do.
func (r *Registry) Exists(ctx context.Context, id names.Project) error {
	return r.db.Read(ctx, func(tx store.Tx) error {
		_, err := existing(tx, id)
		return err
	})
}

// Accepts says whether a project and its domain take new work: as Exists, and KindPrecondition when the project is archived.
func (r *Registry) Accepts(ctx context.Context, id names.Project) error {
	return r.db.Read(ctx, func(tx store.Tx) error { return accepting(tx, id) })
}

// CheckScope says whether a level of settings or secrets exists: the organisation (both empty), a domain, or a project's
// domain.
func (r *Registry) CheckScope(ctx context.Context, domain, projectID string) error {
	switch {
	case domain == "" && projectID == "":
		return nil
	case domain == "":
		return fault.Invalid("domain", "is empty, but a project is given; a project's level needs its domain, one of %s", strings.Join(Domains, ", "))
	case projectID == "":
		if err := names.Check("domain", domain); err != nil {
			return err
		}
		if !knownDomain(domain) {
			return unknownDomain(domain)
		}
		return nil
	}
	id, err := names.NewProject(projectID, domain)
	if err != nil {
		return err
	}
	return r.Exists(ctx, id)
}

func existing(tx store.Tx, id names.Project) (*project.Project, error) {
	p, found, err := readProject(tx, id.Project)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, unknownProject(id.Project)
	}
	if !knownDomain(id.Domain) {
		return nil, unknownDomain(id.Domain)
	}
	return p, nil
}

func accepting(tx store.Tx, id names.Project) error {
	p, err := existing(tx, id)
	if err != nil {
		return err
	}
	if archived(p.GetState()) {
		return fault.New(fault.KindPrecondition, "project %q is archived and takes no new work; "+
			"make it active again with: flyte update project %s --unarchive", id.Project, id.Project)
	}
	return nil
}

func archived(state project.ProjectState) bool {
	return state == project.ProjectState_PROJECT_STATE_ARCHIVED || state == project.ProjectState_PROJECT_STATE_SYSTEM_ARCHIVED
}

func unknownProject(id string) error {
	return fault.New(fault.KindNotFound, "project %q does not exist; see what exists with: flyte get project, "+
		"or create it with: flyte create project", id)
}

func unknownDomain(domain string) error {
	return fault.New(fault.KindNotFound, "domain %q does not exist; use one of %s", domain, strings.Join(Domains, ", "))
}

const projectColumns = "id, name, description, labels, state"

func scanProject(scan func(dest ...any) error) (*project.Project, error) {
	p := &project.Project{Org: org(), Labels: &task.Labels{}}
	var labels []byte
	if err := scan(&p.Id, &p.Name, &p.Description, &labels, &p.State); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(labels, p.Labels); err != nil {
		return nil, fmt.Errorf("labels of project %s: %w", p.GetId(), err)
	}
	for _, domain := range Domains {
		p.Domains = append(p.Domains, &project.Domain{Id: domain, Name: domain})
	}
	return p, nil
}

func readProject(tx store.Tx, id string) (*project.Project, bool, error) {
	p, err := scanProject(tx.QueryRow(`SELECT `+projectColumns+` FROM projects WHERE org = ? AND id = ?`, org(), id).Scan)
	if errors.Is(err, store.ErrNoRows) {
		return nil, false, nil
	}
	return p, err == nil, err
}

// writeProject inserts a project or replaces what an update may change.
func writeProject(tx store.WriteTx, p *project.Project, now time.Time) error {
	labels, err := marshal(p.GetLabels())
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO projects (org, id, name, description, labels, state, created_at, updated_at, seq)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (org, id) DO UPDATE SET name = excluded.name, description = excluded.description, labels = excluded.labels,
			state = excluded.state, updated_at = excluded.updated_at, seq = excluded.seq`,
		org(), p.GetId(), p.GetName(), p.GetDescription(), labels, int32(p.GetState()), micros(now), micros(now), tx.NextSeq())
	return err
}
