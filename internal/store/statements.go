package store

import (
	"context"
	"database/sql"
	"errors"
)

// maxStatements bounds the prepared statements kept per connection. Queries are constants in the code, and lists build
// theirs from a closed set of columns, so the bound is a backstop.
const maxStatements = 512

// connection is one connection of the database and the statements prepared on it. database/sql keeps a prepared
// statement usable across transactions only on the connection that it was prepared on, so each connection is a pool of
// one.
type connection struct {
	db    *sql.DB
	known map[string]*sql.Stmt
}

func newConnection(db *sql.DB) *connection {
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return &connection{db: db, known: map[string]*sql.Stmt{}}
}

// prepare returns the statement bound to tx, and true when it is new to this connection: then keep is called with it when
// the transaction has ended, since the transaction holds the connection until then.
func (c *connection) prepare(ctx context.Context, tx *sql.Tx, query string) (*sql.Stmt, bool, error) {
	if kept := c.known[query]; kept != nil {
		return tx.StmtContext(ctx, kept), false, nil
	}
	s, err := tx.PrepareContext(ctx, query)
	return s, true, err
}

// keep prepares queries for the transactions to come. A failure only costs speed.
func (c *connection) keep(queries []string) {
	for _, query := range queries {
		if len(c.known) >= maxStatements || c.known[query] != nil {
			continue
		}
		if s, err := c.db.PrepareContext(context.Background(), query); err == nil {
			c.known[query] = s
		}
	}
}

func (c *connection) close() error {
	var errs []error
	for _, kept := range c.known {
		errs = append(errs, kept.Close())
	}
	return errors.Join(append(errs, c.db.Close())...)
}
