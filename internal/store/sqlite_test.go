package store_test

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/fstest"

	"biplane.dev/biplane/internal/store"
	"biplane.dev/biplane/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	folders := map[*testing.T]string{}
	storetest.Run(t, func(t *testing.T) store.DB {
		if folders[t] == "" {
			folders[t] = t.TempDir()
		}
		db, err := store.OpenSQLite(t.Context(), filepath.Join(folders[t], "a folder?", "x.db"), storetest.Migrations)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	})
}

func TestSQLiteRefusesANewerDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	newer := storetest.Migrations
	newer.Files = fstest.MapFS{
		"00001_things.sql": storetest.Migrations.Files.(fstest.MapFS)["00001_things.sql"],
		"00002_more.sql":   {Data: []byte("-- +goose Up\nCREATE TABLE more (name TEXT PRIMARY KEY);\n")},
	}
	db, err := store.OpenSQLite(t.Context(), path, newer)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenSQLite(t.Context(), path, storetest.Migrations); !errors.Is(err, store.ErrNewer) {
		t.Fatalf("err %v, want ErrNewer", err)
	}
}
