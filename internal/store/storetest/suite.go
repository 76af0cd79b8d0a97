package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/fstest"

	"biplane.dev/biplane/internal/store"
)

// Migrations are the tables that the suite works on.
var Migrations = store.Migrations{Part: "suite", Files: fstest.MapFS{
	"00001_things.sql": {Data: []byte("-- +goose Up\nCREATE TABLE things (name TEXT PRIMARY KEY, value INTEGER NOT NULL, seq BIGINT NOT NULL);\n")},
}}

// Run runs the suite. open returns the same database every time it is called with the same test's t.
func Run(t *testing.T, open func(t *testing.T) store.DB) {
	ctx := t.Context()
	put := func(db store.DB, name string, value int) error {
		return db.Write(ctx, func(tx store.WriteTx) error {
			_, err := tx.Exec(`INSERT INTO things (name, value, seq) VALUES (?, ?, ?)`, name, value, tx.NextSeq())
			return err
		})
	}
	count := func(t *testing.T, db store.DB) (n int) {
		t.Helper()
		if err := db.Read(ctx, func(tx store.Tx) error { return tx.QueryRow(`SELECT count(*) FROM things`).Scan(&n) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Run("a failed transaction changes nothing and uses up no sequence number that a reader could wait for", func(t *testing.T) {
		db := open(t)
		boom := errors.New("boom")
		err := db.Write(ctx, func(tx store.WriteTx) error {
			if _, err := tx.Exec(`INSERT INTO things (name, value, seq) VALUES ('x', 1, ?)`, tx.NextSeq()); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) || count(t, db) != 0 || db.Seq() != 0 {
			t.Fatalf("err %v, rows %d, seq %d", err, count(t, db), db.Seq())
		}
	})
	t.Run("sequence numbers rise with commits and survive reopening", func(t *testing.T) {
		db := open(t)
		for i, name := range []string{"a", "b", "c"} {
			if err := put(db, name, i); err != nil {
				t.Fatal(err)
			}
		}
		if db.Seq() != 3 {
			t.Fatalf("seq %d, want 3", db.Seq())
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t)
		if db.Seq() != 3 || count(t, db) != 3 {
			t.Fatalf("after reopening: seq %d, rows %d", db.Seq(), count(t, db))
		}
	})
	t.Run("writers from many goroutines are all applied, one at a time", func(t *testing.T) {
		db := open(t)
		if err := put(db, "n", 0); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				err := db.Write(ctx, func(tx store.WriteTx) error {
					var value int
					if err := tx.QueryRow(`SELECT value FROM things WHERE name = 'n'`).Scan(&value); err != nil {
						return err
					}
					_, err := tx.Exec(`UPDATE things SET value = ? WHERE name = 'n'`, value+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var value int
		if err := db.Read(ctx, func(tx store.Tx) error { return tx.QueryRow(`SELECT value FROM things`).Scan(&value) }); err != nil || value != 50 {
			t.Fatalf("value %d, err %v", value, err)
		}
	})
	t.Run("a reader sees one snapshot while a writer commits", func(t *testing.T) {
		db := open(t)
		if err := put(db, "a", 1); err != nil {
			t.Fatal(err)
		}
		err := db.Read(ctx, func(tx store.Tx) error {
			var before, after int
			if err := tx.QueryRow(`SELECT count(*) FROM things`).Scan(&before); err != nil {
				return err
			}
			if err := put(db, "b", 2); err != nil {
				return err
			}
			if err := tx.QueryRow(`SELECT count(*) FROM things`).Scan(&after); err != nil {
				return err
			}
			if before != 1 || after != 1 {
				t.Errorf("saw %d, then %d", before, after)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a cancelled context ends a read", func(t *testing.T) {
		db := open(t)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if err := db.Read(gone, func(store.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Fatalf("err %v", err)
		}
	})
	t.Run("a watcher is woken by a commit that drew numbers and by no other", func(t *testing.T) {
		db := open(t)
		changed, leave := db.Watch()
		defer leave()
		err := db.Write(ctx, func(tx store.WriteTx) error {
			_, err := tx.Exec(`INSERT INTO things (name, value, seq) VALUES ('quiet', 1, 0)`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
			t.Fatal("woken by a commit that drew no number")
		default:
		}
		if err := put(db, "loud", 1); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		default:
			t.Fatal("not woken")
		}
	})
	t.Run("no row is ErrNoRows", func(t *testing.T) {
		db := open(t)
		err := db.Read(ctx, func(tx store.Tx) error {
			var value int
			return tx.QueryRow(`SELECT value FROM things WHERE name = 'none'`).Scan(&value)
		})
		if !errors.Is(err, store.ErrNoRows) {
			t.Fatalf("err %v", err)
		}
	})
}
