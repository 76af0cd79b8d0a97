package registry

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// Task returns a task's spec and the digest of it. An empty version means the one deployed last.
func (r *Registry) Task(ctx context.Context, id names.Task) (spec *task.TaskSpec, digest string, err error) {
	err = r.db.Read(ctx, func(tx store.Tx) error {
		row, err := readTask(tx, id)
		if err != nil {
			return err
		}
		digest = row.digest
		spec, err = readSpec(tx, row.digest)
		return err
	})
	return spec, digest, err
}

// Latest completes the name of a task with the version that was deployed last.
func (r *Registry) Latest(ctx context.Context, id names.Task) (names.Task, error) {
	id.Version = ""
	return id, r.db.Read(ctx, func(tx store.Tx) error {
		row, err := readTask(tx, id)
		id = row.id
		return err
	})
}

// whereTask is the condition of taskKey: every version of a name.
const whereTask = ` WHERE org = ? AND project = ? AND domain = ? AND name = ?`

func taskKey(id names.Task) []any { return []any{org(), id.Project.Project, id.Domain, id.Name} }

// taskRow is a deployed version of a task, without its spec.
type taskRow struct {
	id          names.Task
	digest      string
	shortName   string
	environment string
	description string
	latest      bool
	created     int64
}

const taskColumns = "project, domain, name, version, digest, short_name, environment, description, latest, created_at"

func scanTask(scan func(dest ...any) error) (taskRow, error) {
	var row taskRow
	row.id.Org = org()
	return row, scan(&row.id.Project.Project, &row.id.Domain, &row.id.Name, &row.id.Version, &row.digest, &row.shortName,
		&row.environment, &row.description, &row.latest, &row.created)
}

// readTask reads one version, or the latest when id has none. Its error is KindNotFound for an unknown project as well,
// with other words.
func readTask(tx store.Tx, id names.Task) (taskRow, error) {
	if _, err := existing(tx, id.Project); err != nil {
		return taskRow{}, err
	}
	query := `SELECT ` + taskColumns + ` FROM tasks` + whereTask + ` AND `
	args := taskKey(id)
	if id.Version == "" {
		query += `latest = 1`
	} else {
		query, args = query+`version = ?`, append(args, id.Version)
	}
	row, err := scanTask(tx.QueryRow(query, args...).Scan)
	if errors.Is(err, store.ErrNoRows) {
		if id.Version == "" {
			return taskRow{}, fault.New(fault.KindNotFound, "task %q does not exist in %s; deploy it with: flyte deploy", id.Name, id.Project)
		}
		return taskRow{}, fault.New(fault.KindNotFound, "task %q has no version %q in %s; deploy it with: flyte deploy", id.Name, id.Version, id.Project)
	}
	return row, err
}

// deployTask keeps a version of a task and makes it the latest one. The same content again is a success: a roll-back
// deploys an old version once more. Other content under a version that exists is KindExists.
func deployTask(tx store.WriteTx, id names.Task, spec *task.TaskSpec, now time.Time) error {
	digest, raw, err := encodeSpec(spec)
	if err != nil {
		return err
	}
	var old string
	var latest bool
	key := taskKey(id)
	err = tx.QueryRow(`SELECT digest, latest FROM tasks`+whereTask+` AND version = ?`, append(key, id.Version)...).Scan(&old, &latest)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	if known {
		if same, err := sameSpec(tx, old, digest, spec); err != nil {
			return err
		} else if !same {
			return fault.New(fault.KindExists, "task %q exists in version %q with other content; "+
				"a version never changes, so deploy under another one", id.Name, id.Version)
		}
		if latest {
			return nil
		}
	}
	// Times rise within a name even when the clock does not: "latest" is the highest.
	var newest int64
	if err := tx.QueryRow(`SELECT COALESCE(MAX(created_at), 0) FROM tasks`+whereTask, key...).Scan(&newest); err != nil {
		return err
	}
	created := max(micros(now), newest+1)
	if _, err := tx.Exec(`UPDATE tasks SET latest = 0, seq = ?`+whereTask+` AND latest = 1`, append([]any{tx.NextSeq()}, key...)...); err != nil {
		return err
	}
	if known {
		_, err := tx.Exec(`UPDATE tasks SET latest = 1, created_at = ?, seq = ?`+whereTask+` AND version = ?`,
			append([]any{created, tx.NextSeq()}, append(key, id.Version)...)...)
		return err
	}
	if err := insertSpec(tx, digest, raw); err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO tasks
		(org, project, domain, name, version, digest, short_name, environment, description, entrypoint, latest, created_at, seq)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`,
		org(), id.Project.Project, id.Domain, id.Name, id.Version, digest, spec.GetShortName(), spec.GetEnvironment().GetName(),
		spec.GetDocumentation().GetShortDescription(), flag(spec.GetTaskTemplate().GetMetadata().GetIsEntrypoint()), created, tx.NextSeq())
	return err
}

// sameSpec compares a new spec with a stored one. Digests differ between versions of this program that write the same
// message differently, so a different digest is not yet different content.
func sameSpec(tx store.Tx, old, digest string, spec *task.TaskSpec) (bool, error) {
	if old == digest {
		return true, nil
	}
	stored, err := readSpec(tx, old)
	return proto.Equal(stored, spec), err
}
