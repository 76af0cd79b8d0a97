package catalog

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the catalog's tables.
func Migrations() store.Migrations {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return store.Migrations{Part: "catalog", Files: files}
}

// newer is the rule for a row that is there already: a later timeline or a higher number wins.
func newer(table string) string {
	return ` WHERE ` + table + `.timeline < excluded.timeline OR ` + table + `.timeline = excluded.timeline AND ` + table + `.seq < excluded.seq`
}

// Batch applies events of one plane in one transaction; timeline as in ledger.Batch.
type Batch struct {
	tx       store.WriteTx
	plane    link.Plane
	timeline int64
}

// NewBatch begins a batch in the transaction.
func NewBatch(tx store.WriteTx, plane link.Plane, timeline int64) *Batch {
	return &Batch{tx: tx, plane: plane, timeline: timeline}
}

// Project stores the state of a project.
func (b *Batch) Project(seq int64, s *linkv1.ProjectState) error {
	_, err := b.tx.Exec(`INSERT INTO projects (org, plane, id, timeline, seq, name, domains, archived, created_us, updated_us)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (org, plane, id) DO UPDATE SET timeline = excluded.timeline, seq = excluded.seq, name = excluded.name,
		domains = excluded.domains, archived = excluded.archived, created_us = excluded.created_us, updated_us = excluded.updated_us`+newer("projects"),
		b.plane.Org, b.plane.Name, s.GetId(), b.timeline, seq, s.GetName(), strings.Join(s.GetDomains(), ","), number(s.GetArchived()),
		s.GetCreatedUs(), s.GetUpdatedUs())
	return err
}

// Task stores the state of a version of a task.
func (b *Batch) Task(seq int64, s *linkv1.TaskState) error {
	id := s.GetId()
	_, err := b.tx.Exec(`INSERT INTO tasks (org, plane, project, domain, name, version, timeline, seq, short_name, environment, deployed_us, deployed_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (org, plane, project, domain, name, version) DO UPDATE SET timeline = excluded.timeline, seq = excluded.seq,
		short_name = excluded.short_name, environment = excluded.environment, deployed_us = excluded.deployed_us,
		deployed_by = excluded.deployed_by`+newer("tasks"),
		b.plane.Org, b.plane.Name, id.GetProject(), id.GetDomain(), id.GetName(), id.GetVersion(), b.timeline, seq, s.GetShortName(),
		s.GetEnvironment(), s.GetDeployedUs(), s.GetDeployedBy())
	return err
}

// Trigger stores the state of a trigger, or removes it when it was deleted.
func (b *Batch) Trigger(seq int64, s *linkv1.TriggerState) error {
	id := s.GetId()
	key := []any{b.plane.Org, b.plane.Name, id.GetProject(), id.GetDomain(), id.GetTask(), id.GetName()}
	if s.GetDeleted() {
		_, err := b.tx.Exec(`DELETE FROM triggers WHERE org = ? AND plane = ? AND project = ? AND domain = ? AND task = ? AND name = ?`, key...)
		return err
	}
	_, err := b.tx.Exec(`INSERT INTO triggers (org, plane, project, domain, task, name, timeline, seq, revision, kind, active, task_version, updated_us,
		last_fired_us, next_fire_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (org, plane, project, domain, task, name) DO UPDATE SET timeline = excluded.timeline, seq = excluded.seq,
		revision = excluded.revision, kind = excluded.kind, active = excluded.active, task_version = excluded.task_version,
		updated_us = excluded.updated_us, last_fired_us = excluded.last_fired_us, next_fire_us = excluded.next_fire_us`+newer("triggers"),
		append(key, b.timeline, seq, int64(s.GetRevision()), int32(s.GetKind()), number(s.GetActive()), s.GetTaskVersion(), s.GetUpdatedUs(),
			s.GetLastFiredUs(), s.GetNextFireUs())...)
	return err
}

// Sweep removes what a plane whose history was replaced did not mention again.
func (b *Batch) Sweep() error {
	for _, table := range []string{"projects", "tasks", "triggers"} {
		if _, err := b.tx.Exec(`DELETE FROM `+table+` WHERE org = ? AND plane = ? AND timeline < ?`, b.plane.Org, b.plane.Name, b.timeline); err != nil {
			return fmt.Errorf("sweep the catalog: %w", err)
		}
	}
	return nil
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
