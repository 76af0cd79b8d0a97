package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pressly/goose/v3"
	goosedb "github.com/pressly/goose/v3/database"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"biplane.dev/biplane/internal/fault"
)

// checkpointPages of 4 KiB: a log of 16 MiB, which is read in some milliseconds after a crash.
const checkpointPages = 4000

// OpenSQLite opens or creates the database in the file path and brings every part's tables up to date.
//
// A commit is on disk when Write returns (WAL, synchronous=FULL): what was acknowledged survives the machine, not only
// the process. The log grows to checkpointPages before it is copied into the database, because the same few pages at the right
// edge of each index change with every commit.
func OpenSQLite(ctx context.Context, path string, parts ...Migrations) (DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	checkpoint := fmt.Sprintf("wal_autocheckpoint(%d)", checkpointPages)
	source := func(readOnly bool) string {
		q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "foreign_keys(ON)", checkpoint}}
		if readOnly {
			// Every commit empties a reader's cache, so a large one would only take memory.
			q.Add("_pragma", "query_only(ON)")
			q.Add("_pragma", "cache_size(-4096)")
		} else {
			q.Add("_pragma", "cache_size(-32768)")
			q.Set("_txlock", "immediate")
		}
		return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	}
	writer, err := sql.Open("sqlite", source(false))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := migrate(ctx, writer, parts); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, explain(err)), writer.Close())
	}
	db := &sqliteDB{writer: newConnection(writer), readers: make(chan *connection, max(4, runtime.NumCPU()))}
	for range cap(db.readers) {
		reader, err := sql.Open("sqlite", source(true))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
		}
		db.readers <- newConnection(reader)
	}
	var seq int64
	if err := writer.QueryRowContext(ctx, `SELECT seq FROM change_seq`).Scan(&seq); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: read the change sequence: %w", path, explain(err)), db.Close())
	}
	db.seq.Store(seq)
	return db, nil
}

func migrate(ctx context.Context, writer *sql.DB, parts []Migrations) error {
	if _, err := writer.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS change_seq (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL)`); err != nil {
		return err
	}
	if _, err := writer.ExecContext(ctx, `INSERT INTO change_seq (one, seq) VALUES (1, 0) ON CONFLICT DO NOTHING`); err != nil {
		return err
	}
	for _, part := range parts {
		versions, err := goosedb.NewStore(goosedb.DialectSQLite3, part.Part+"_version")
		if err != nil {
			return err
		}
		provider, err := goose.NewProvider("", writer, part.Files, goose.WithStore(versions), goose.WithDisableGlobalRegistry(true))
		if err != nil {
			return fmt.Errorf("migrations of %s: %w", part.Part, err)
		}
		have, err := provider.GetDBVersion(ctx)
		if err != nil {
			return fmt.Errorf("migrations of %s: %w", part.Part, err)
		}
		sources := provider.ListSources()
		if want := sources[len(sources)-1].Version; have > want {
			return fmt.Errorf("%w: tables of %s are at version %d, this program knows %d; start the newer program, or use another state folder", ErrNewer, part.Part, have, want)
		}
		if _, err := provider.Up(ctx); err != nil {
			return fmt.Errorf("migrations of %s: %w", part.Part, err)
		}
	}
	return nil
}

type sqliteDB struct {
	write   sync.Mutex // held for the length of a write transaction; guards writer
	writer  *connection
	readers chan *connection
	seq     atomic.Int64

	watching sync.Mutex
	watchers map[chan struct{}]struct{}
}

func (db *sqliteDB) Seq() int64 { return db.seq.Load() }

func (db *sqliteDB) Close() error {
	var errs []error
	for range len(db.readers) {
		errs = append(errs, (<-db.readers).close())
	}
	db.write.Lock()
	defer db.write.Unlock()
	return errors.Join(append(errs, db.writer.close())...)
}

func (db *sqliteDB) Read(ctx context.Context, fn func(Tx) error) error {
	var reader *connection
	select {
	case reader = <-db.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { db.readers <- reader }()
	tx, err := reader.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return explain(err)
	}
	r := &sqliteTx{ctx: ctx, tx: tx, on: reader}
	err = fn(r)
	err = errors.Join(err, ignoreDone(tx.Rollback()))
	reader.keep(r.fresh)
	return explain(err)
}

func (db *sqliteDB) Write(ctx context.Context, fn func(WriteTx) error) error {
	db.write.Lock()
	defer db.write.Unlock()
	tx, err := db.writer.db.BeginTx(ctx, nil)
	if err != nil {
		return explain(err)
	}
	before := db.seq.Load()
	w := &sqliteWriteTx{sqliteTx: sqliteTx{ctx: ctx, tx: tx, on: db.writer}, seq: before}
	defer func() { db.writer.keep(w.fresh) }()
	err = fn(w)
	if err == nil && w.seq != before {
		_, err = w.Exec(`UPDATE change_seq SET seq = ?`, w.seq)
	}
	if err != nil {
		return explain(errors.Join(err, ignoreDone(tx.Rollback())))
	}
	if err := tx.Commit(); err != nil {
		return explain(errors.Join(err, ignoreDone(tx.Rollback())))
	}
	db.seq.Store(w.seq)
	if w.seq != before {
		db.wake()
	}
	return nil
}

func (db *sqliteDB) Watch() (changed <-chan struct{}, leave func()) {
	wake := make(chan struct{}, 1)
	db.watching.Lock()
	defer db.watching.Unlock()
	if db.watchers == nil {
		db.watchers = map[chan struct{}]struct{}{}
	}
	db.watchers[wake] = struct{}{}
	return wake, func() {
		db.watching.Lock()
		defer db.watching.Unlock()
		delete(db.watchers, wake)
	}
}

func (db *sqliteDB) wake() {
	db.watching.Lock()
	defer db.watching.Unlock()
	for wake := range db.watchers {
		select {
		case wake <- struct{}{}:
		default: // it has not looked since the last one
		}
	}
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// explain turns what a full or broken disk says into a fault; everything else is passed on.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
			return &fault.Fault{Kind: fault.KindUnavailable, Message: "the plane cannot write its journal: the disk is full or failing; make room and try again", Cause: err}
		case sqlite3.SQLITE_BUSY:
			return &fault.Fault{Kind: fault.KindUnavailable, Message: "the plane's database is busy; try again", Cause: err}
		}
	}
	return err
}

type sqliteTx struct {
	ctx   context.Context
	tx    *sql.Tx
	on    *connection
	fresh []string // queries seen here for the first time
}

func (t *sqliteTx) prepare(query string) (*sql.Stmt, error) {
	s, fresh, err := t.on.prepare(t.ctx, t.tx, query)
	if err == nil && fresh {
		t.fresh = append(t.fresh, query)
	}
	return s, err
}

func (t *sqliteTx) Query(query string, args ...any) (*sql.Rows, error) {
	s, err := t.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(t.ctx, args...)
}

func (t *sqliteTx) QueryRow(query string, args ...any) *sql.Row {
	s, err := t.prepare(query)
	if err != nil {
		// The unprepared path reports the same error through Scan.
		return t.tx.QueryRowContext(t.ctx, query, args...)
	}
	return s.QueryRowContext(t.ctx, args...)
}

type sqliteWriteTx struct {
	sqliteTx
	seq int64
}

func (t *sqliteWriteTx) NextSeq() int64 {
	t.seq++
	return t.seq
}

func (t *sqliteWriteTx) Exec(query string, args ...any) (int64, error) {
	s, err := t.prepare(query)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
