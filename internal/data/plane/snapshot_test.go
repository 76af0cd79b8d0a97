package plane_test

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite"
)

// snapshot is all that a plane has on disk, and what lies around its folder: the tree of files by path, and for the
// database, whose file also changes when nothing in it does, the content of every table.
type snapshot map[string]string

func (b *bench) snapshot() snapshot {
	b.Helper()
	s := snapshot{}
	around := filepath.Dir(b.state)
	err := filepath.WalkDir(around, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(around, path)
		switch {
		case strings.HasPrefix(entry.Name(), "plane.db"): // below
		case entry.Type().IsRegular():
			// An empty file is not opened: to close the file of a lock would let go of it, for the whole process.
			if info, err := entry.Info(); err != nil || info.Size() == 0 {
				s[name] = "empty"
				return err
			}
			content, err := os.ReadFile(path)
			s[name] = fmt.Sprintf("%d bytes %x", len(content), sha256.Sum256(content))
			return err
		default:
			s[name] = entry.Type().String()
		}
		return nil
	})
	if err != nil {
		b.Fatalf("look at the state folder: %v", err)
	}
	for table, content := range b.tables() {
		s["table "+table] = content
	}
	return s
}

// tables is a digest of the rows of each table of the plane's database, read beside the plane.
func (b *bench) tables() map[string]string {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.state, "plane.db")+"?_pragma=query_only(ON)&_pragma=busy_timeout(10000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	found := map[string]string{}
	for _, name := range query(b, db, `SELECT name FROM sqlite_master WHERE type = 'table'`) {
		rows := query(b, db, `SELECT * FROM "`+name+`"`)
		found[name] = fmt.Sprintf("%d rows %x", len(rows), sha256.Sum256([]byte(strings.Join(rows, "\n"))))
	}
	return found
}

// query is the rows of a query as text.
func query(b *bench, db *sql.DB, statement string, args ...any) (texts []string) {
	b.Helper()
	rows, err := db.Query(statement, args...)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		b.Fatal(err)
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			b.Fatal(err)
		}
		parts := make([]string, len(values))
		for i, value := range values {
			parts[i] = fmt.Sprint(value)
		}
		texts = append(texts, strings.Join(parts, "|"))
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return texts
}

// unchanged fails when anything is different from before.
func (b *bench) unchanged(before snapshot, after string) {
	b.Helper()
	now := b.snapshot()
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if old, known := before[path]; !known {
			b.Errorf("%s left %q (%s)", after, path, now[path])
		} else if old != now[path] {
			b.Errorf("%s changed %q from %s to %s", after, path, old, now[path])
		}
	}
	for path := range before {
		if _, known := now[path]; !known {
			b.Errorf("%s removed %q", after, path)
		}
	}
}
