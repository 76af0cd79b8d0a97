package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
)

// ErrNoRows is returned by Row.Scan when the query selected nothing.
var ErrNoRows = sql.ErrNoRows

// Tx reads. It is valid only inside the function it was given to, and must not be shared between goroutines.
type Tx interface {
	// Query runs a SELECT. The statement is prepared once per database and kept.
	Query(query string, args ...any) (*sql.Rows, error)
	// QueryRow runs a SELECT for at most one row.
	QueryRow(query string, args ...any) *sql.Row
}

// WriteTx reads and writes.
type WriteTx interface {
	Tx
	// Exec runs a statement and says how many rows it changed.
	Exec(query string, args ...any) (int64, error)
	// NextSeq draws the next number of the change sequence. Numbers rise in commit order; one drawn in a
	// transaction that fails is never used again.
	NextSeq() int64
}

// DB is one plane's database.
type DB interface {
	// Read runs fn on a snapshot.
	Read(ctx context.Context, fn func(Tx) error) error
	// Write runs fn in a transaction; writers are serialised. When fn or the commit fails nothing is changed. A full
	// disk is a fault of KindUnavailable that says so.
	Write(ctx context.Context, fn func(WriteTx) error) error
	// Seq is the highest number of the change sequence that a committed transaction drew.
	Seq() int64
	// Watch returns a channel that receives at least once after each later commit that drew numbers, however they were
	// drawn; leave must be called at the end.
	Watch() (changed <-chan struct{}, leave func())
	// Close waits for transactions in flight.
	Close() error
}

// Migrations is one part's tables: a folder of goose files ("00001_name.sql") and a name for its version table.
type Migrations struct {
	Part  string
	Files fs.FS
}

// ErrNewer is in the error of Open when the database was written by a newer version of the program.
var ErrNewer = errors.New("the state was written by a newer version")
