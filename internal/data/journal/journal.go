package journal

import (
	"context"
	"embed"
	"io/fs"

	"biplane.dev/biplane/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are this part's tables.
func Migrations() store.Migrations {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return store.Migrations{Part: "journal", Files: files}
}

// Journal reads and writes the rows.
type Journal struct {
	db  store.DB
	hub *Hub
}

// New makes a journal on a database that was opened with Migrations.
func New(db store.DB) *Journal { return &Journal{db: db, hub: newHub()} }

// Read runs fn on a snapshot of the rows.
func (j *Journal) Read(ctx context.Context, fn func(store.Tx) error) error { return j.db.Read(ctx, fn) }
