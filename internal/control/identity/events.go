package identity

import (
	"context"
	"log/slog"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// Events of identities. The list is closed.
const (
	EventAdded       = "added"
	EventInvited     = "invited"
	EventEnrolled    = "enrolled"
	EventRenewed     = "renewed"
	EventRemoved     = "removed"
	EventTokenWrong  = "token wrong"      // a known token with another secret
	EventTokenUsed   = "token used again" // by another key than the first time
	EventTokenLate   = "token expired"
	EventTokenVoid   = "token withdrawn"
	EventOutdated    = "certificate of an earlier enrolment"
	EventCopied      = "copied" // two places have one identity
	EventAfterRemove = "refused after removal"
	EventPutBack     = "register was put back" // a certificate is newer than the register
)

const (
	maxEvents = 20_000 // rows; the oldest go
	// noteAgain is how often the same refusal of the same plane is written down.
	noteAgain   = 10 * time.Minute
	maxNoted    = 10_000
	eventsLimit = 1000
)

// Event is something that happened to a plane's identity.
type Event struct {
	At     time.Time
	Plane  link.Plane
	What   string
	Actor  string // an operator's name, or the address that was called from
	Detail string // never a secret
}

// change is a transaction that also writes events.
type change struct {
	store.WriteTx
	at     time.Time
	events []Event
}

func (c *change) note(plane link.Plane, what, actor, detail string) {
	c.events = append(c.events, Event{At: c.at, Plane: plane, What: what, Actor: actor, Detail: detail})
}

// change runs fn in a transaction. The events that fn notes are stored with it, and logged when it is committed.
func (a *Authority) change(ctx context.Context, fn func(*change) error) error {
	c := &change{at: a.config.Now()}
	err := a.db.Write(ctx, func(tx store.WriteTx) error {
		c.WriteTx, c.events = tx, nil
		if err := fn(c); err != nil {
			return err
		}
		return c.store()
	})
	if err != nil {
		return err
	}
	for _, e := range c.events {
		level := slog.LevelInfo
		switch e.What {
		case EventTokenWrong, EventTokenUsed, EventTokenLate, EventTokenVoid, EventOutdated, EventAfterRemove, EventPutBack:
			level = slog.LevelWarn
		case EventCopied:
			level = slog.LevelError
		}
		a.config.Log.Log(ctx, level, "identity: "+e.What, "plane", e.Plane.String(), "by", e.Actor, "detail", e.Detail)
	}
	return nil
}

func (c *change) store() error {
	if len(c.events) == 0 {
		return nil
	}
	var last int64
	if err := c.QueryRow(`SELECT COALESCE(MAX(number), 0) FROM identity_events`).Scan(&last); err != nil {
		return err
	}
	for _, e := range c.events {
		last++
		if _, err := c.Exec(`INSERT INTO identity_events (number, at_us, org, plane, event, actor, detail) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			last, e.At.UnixMicro(), e.Plane.Org, e.Plane.Name, e.What, e.Actor, e.Detail); err != nil {
			return err
		}
	}
	_, err := c.Exec(`DELETE FROM identity_events WHERE number <= ?`, last-maxEvents)
	return err
}

// due says whether a refusal is to be written down: one that is repeated with every try would fill the table.
func (a *Authority) due(plane link.Plane, what string) bool {
	key, now := plane.String()+" "+what, a.config.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.noted[key]; ok && now.Sub(at) < noteAgain {
		return false
	}
	if len(a.noted) >= maxNoted {
		clear(a.noted)
	}
	a.noted[key] = now
	return true
}

// Events lists what happened, newest first; an empty name means any plane. limit 0 means 100, the most is 1,000.
func (a *Authority) Events(ctx context.Context, org, name string, limit int) ([]Event, error) {
	if limit < 0 || limit > eventsLimit {
		return nil, fault.Invalid("limit", "must be from 1 to %d, or 0 for 100; got %d", eventsLimit, limit)
	}
	if limit == 0 {
		limit = 100
	}
	query, args := `SELECT at_us, plane, event, actor, detail FROM identity_events WHERE org = ? ORDER BY number DESC LIMIT ?`, []any{org, limit}
	if name != "" {
		query, args = `SELECT at_us, plane, event, actor, detail FROM identity_events WHERE org = ? AND plane = ? ORDER BY number DESC LIMIT ?`, []any{org, name, limit}
	}
	var events []Event
	err := a.db.Read(ctx, func(tx store.Tx) error {
		events = nil
		rows, err := tx.Query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			e := Event{Plane: link.Plane{Org: org}}
			var at int64
			if err := rows.Scan(&at, &e.Plane.Name, &e.What, &e.Actor, &e.Detail); err != nil {
				return err
			}
			e.At = time.UnixMicro(at)
			events = append(events, e)
		}
		return rows.Err()
	})
	return events, err
}
