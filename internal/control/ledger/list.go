package ledger

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/store"
)

// Page limits.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Filter selects runs. Empty fields select any.
type Filter struct {
	Org     string
	Project string
	Domain  string
	Name    string
	Plane   string
	Phases  []linkv1.Phase
}

const runColumns = `id, org, plane, project, domain, name, task, task_version, phase, created_us, started_us, ended_us, attempts, error_code,
	exit_class, source, trigger_name, relation, related_to, created_by, aborted_by`

func scanRun(scan func(...any) error) (Run, error) {
	var r Run
	err := scan(&r.ID, &r.Org, &r.Plane, &r.Project, &r.Domain, &r.Name, &r.Task, &r.TaskVersion, &r.Phase, &r.Created, &r.Started, &r.Ended,
		&r.Attempts, &r.ErrorCode, &r.ExitClass, &r.Source, &r.Trigger, &r.Relation, &r.RelatedTo, &r.CreatedBy, &r.AbortedBy)
	return r, err
}

func (f Filter) where() (string, []any) {
	clauses, args := []string{`org = ?`, `seq > 0`}, []any{f.Org}
	for _, c := range []struct{ column, value string }{{"project", f.Project}, {"domain", f.Domain}, {"name", f.Name}, {"plane", f.Plane}} {
		if c.value != "" {
			clauses, args = append(clauses, c.column+` = ?`), append(args, c.value)
		}
	}
	if len(f.Phases) > 0 {
		clauses = append(clauses, `phase IN (?`+strings.Repeat(`, ?`, len(f.Phases)-1)+`)`)
		for _, phase := range f.Phases {
			args = append(args, int32(phase))
		}
	}
	return strings.Join(clauses, ` AND `), args
}

// Runs lists runs, newest first, and returns the token of the next page, empty at the end. Pages are cut at a run, not at
// a count, so rows that come meanwhile neither repeat nor hide any.
func (l *Ledger) Runs(ctx context.Context, filter Filter, limit int, token string) ([]Run, string, error) {
	limit, err := pageLimit(limit)
	if err != nil {
		return nil, "", err
	}
	if len(filter.Phases) > len(linkv1.Phase_name) {
		return nil, "", fault.Invalid("phases", "has %d values; there are only %d phases", len(filter.Phases), len(linkv1.Phase_name))
	}
	where, args := filter.where()
	if token != "" {
		created, id, err := readToken(token, 16)
		if err != nil {
			return nil, "", err
		}
		where += ` AND (created_us < ? OR created_us = ? AND id < ?)`
		args = append(args, created, created, int64(binary.BigEndian.Uint64(id)))
	}
	var runs []Run
	err = l.db.Read(ctx, func(tx store.Tx) error {
		runs = nil
		rows, err := tx.Query(`SELECT `+runColumns+` FROM runs WHERE `+where+` ORDER BY created_us DESC, id DESC LIMIT ?`, append(args, limit+1)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			run, err := scanRun(rows.Scan)
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		return rows.Err()
	})
	if err != nil || len(runs) <= limit {
		return runs, "", err
	}
	runs = runs[:limit]
	last := runs[limit-1]
	return runs, writeToken(last.Created, binary.BigEndian.AppendUint64(nil, uint64(last.ID))), nil
}

// Run finds one run by name. A name that exists more than once within the filter is a fault that says where.
func (l *Ledger) Run(ctx context.Context, filter Filter) (Run, error) {
	if filter.Name == "" {
		return Run{}, fault.Invalid("name", "is empty")
	}
	runs, _, err := l.Runs(ctx, filter, 10, "")
	if err != nil {
		return Run{}, err
	}
	switch len(runs) {
	case 0:
		return Run{}, fault.NotFound("run", filter.Name)
	case 1:
		return runs[0], nil
	default:
		var places []string
		for _, run := range runs {
			places = append(places, "project "+run.Project+", domain "+run.Domain+", plane "+run.Plane)
		}
		return Run{}, fault.Invalid("name", "%q names more than one run (%s); say which by project, domain or plane", filter.Name, strings.Join(places, "; "))
	}
}

const actionColumns = `name, parent, kind, short_name, task, task_version, phase, attempt, created_us, started_us, ended_us, cache_status,
	error_code, exit_class, inputs_uri, outputs_uri, reason`

// Actions lists actions of a run in the order in which they were enqueued.
func (l *Ledger) Actions(ctx context.Context, run int64, limit int, token string) ([]Action, string, error) {
	limit, err := pageLimit(limit)
	if err != nil {
		return nil, "", err
	}
	where, args := `run = ?`, []any{run}
	if token != "" {
		created, name, err := readToken(token, 9)
		if err != nil {
			return nil, "", err
		}
		where += ` AND (created_us > ? OR created_us = ? AND name > ?)`
		args = append(args, created, created, string(name))
	}
	var actions []Action
	err = l.db.Read(ctx, func(tx store.Tx) error {
		actions = nil
		rows, err := tx.Query(`SELECT `+actionColumns+` FROM actions WHERE `+where+` ORDER BY created_us, name LIMIT ?`, append(args, limit+1)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var a Action
			if err := rows.Scan(&a.Name, &a.Parent, &a.Kind, &a.ShortName, &a.Task, &a.TaskVersion, &a.Phase, &a.Attempt, &a.Created, &a.Started,
				&a.Ended, &a.CacheStatus, &a.ErrorCode, &a.ExitClass, &a.InputsURI, &a.OutputsURI, &a.Reason); err != nil {
				return err
			}
			actions = append(actions, a)
		}
		return rows.Err()
	})
	if err != nil || len(actions) <= limit {
		return actions, "", err
	}
	actions = actions[:limit]
	last := actions[limit-1]
	return actions, writeToken(last.Created, []byte(last.Name)), nil
}

// Counts says how many actions of the run are in each phase.
func (l *Ledger) Counts(ctx context.Context, run int64) (map[linkv1.Phase]int64, error) {
	counts := map[linkv1.Phase]int64{}
	err := l.db.Read(ctx, func(tx store.Tx) error {
		rows, err := tx.Query(`SELECT phase, COUNT(*) FROM actions WHERE run = ? GROUP BY phase`, run)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var phase linkv1.Phase
			var count int64
			if err := rows.Scan(&phase, &count); err != nil {
				return err
			}
			counts[phase] = count
		}
		return rows.Err()
	})
	return counts, err
}

func pageLimit(limit int) (int, error) {
	if limit < 0 || limit > MaxLimit {
		return 0, fault.Invalid("limit", "must be from 1 to %d, or 0 for %d; got %d", MaxLimit, DefaultLimit, limit)
	}
	if limit == 0 {
		return DefaultLimit, nil
	}
	return limit, nil
}

// A token is the sort key of a page's last row: its time and what tells rows of the same time apart.
func writeToken(created int64, rest []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, uint64(created)), rest...))
}

func readToken(token string, shortest int) (created int64, rest []byte, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil && len(raw) < shortest {
		err = errors.New("too short")
	}
	if err != nil {
		return 0, nil, fault.Invalid("page_token", "is not one that this list gave out; start again without it")
	}
	return int64(binary.BigEndian.Uint64(raw)), raw[8:], nil
}
