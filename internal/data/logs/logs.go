package logs

import (
	"context"
	"time"

	"biplane.dev/biplane/internal/names"
)

// Stream says which of its two outputs a process wrote to, or that the plane itself speaks.
type Stream uint8

// The streams.
const (
	Stdout Stream = 1
	Stderr Stream = 2
	System Stream = 3 // a line of the plane: truncation, out of memory
)

// Line is one line of an attempt's log, without the line feed.
type Line struct {
	At     time.Time
	Stream Stream
	Text   string
}

// Store reads and removes logs.
type Store interface {
	// Read returns up to limit lines of the attempt's log from the position, and the position after them. Position "" is the
	// start. No line yet: no lines and no error; no log at all: a fault of KindNotFound.
	Read(ctx context.Context, id names.Attempt, position string, limit int) ([]Line, string, error)
	// Wait returns when the log may have grown beyond the position, or ctx is done.
	Wait(ctx context.Context, id names.Attempt, position string) error
	// Exists says whether a log has been begun.
	Exists(ctx context.Context, id names.Attempt) bool
	// Delete removes the logs of a run.
	Delete(ctx context.Context, run names.Run) error
}
