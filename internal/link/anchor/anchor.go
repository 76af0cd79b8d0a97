package anchor

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/store"
)

// keptLives bounds what a hello carries. A plane that started more often than this without ever reaching the control plane is
// asked for everything again.
const keptLives = 64

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the anchor's tables, for store.OpenSQLite.
func Migrations() store.Migrations {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return store.Migrations{Part: "link", Files: files}
}

// Anchor is open for one life.
type Anchor struct {
	db    store.DB
	lives []*linkv1.Life

	mu      sync.Mutex
	applied int64
}

// Begin writes a new life. It must be called once per start, before anything of this start draws a number of the change
// sequence.
//
// Reports are the kinds of rows that the plane's Source tells of. When a version of the plane begins to tell of another
// kind, rows that changed long ago are still untold, below the cursor: the earlier lives are forgotten then, and so
// everything is asked for again.
func Begin(ctx context.Context, db store.DB, reports ...string) (*Anchor, error) {
	a := &Anchor{db: db}
	kinds := strings.Join(reports, ",")
	err := db.Write(ctx, func(tx store.WriteTx) error {
		var last int64
		if err := tx.QueryRow(`SELECT COALESCE(MAX(number), 0) FROM link_lives`).Scan(&last); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM link_lives WHERE number <= ? OR reports <> ?`, last+1-keptLives, kinds); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO link_lives (number, id, began_at, reports) VALUES (?, ?, ?, ?)`, last+1, rand.Text(), db.Seq(), kinds); err != nil {
			return err
		}
		if err := tx.QueryRow(`SELECT applied FROM link_commands`).Scan(&a.applied); err != nil {
			return err
		}
		rows, err := tx.Query(`SELECT id, began_at FROM link_lives ORDER BY number`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			life := &linkv1.Life{}
			if err := rows.Scan(&life.Id, &life.BeganAt); err != nil {
				return err
			}
			a.lives = append(a.lives, life)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("begin a life of the plane: %w", err)
	}
	return a, nil
}

// Lives are this database's lives, oldest first, the present one last.
func (a *Anchor) Lives() []*linkv1.Life { return a.lives }

// Cursor is the number of the last command applied for good.
func (a *Anchor) Cursor() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied
}

// advance stores that the command has been applied for good.
func (a *Anchor) advance(ctx context.Context, seq int64) error {
	err := a.db.Write(ctx, func(tx store.WriteTx) error {
		_, err := tx.Exec(`UPDATE link_commands SET applied = ? WHERE applied < ?`, seq, seq)
		return err
	})
	if err != nil {
		return fmt.Errorf("store the cursor of commands: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.applied = max(a.applied, seq)
	return nil
}
