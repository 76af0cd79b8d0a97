package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

const (
	tokenLife    = time.Hour
	maxTokenLife = 30 * 24 * time.Hour
	// keepTokens is how long a token that is over is remembered, so that its use is told from a guess.
	keepTokens = 30 * 24 * time.Hour
)

// Add registers a plane, or one again that was removed, and makes its token; life 0 means an hour. also runs in the same
// transaction. by is who asks.
func (a *Authority) Add(ctx context.Context, plane link.Plane, life time.Duration, by string, also func(store.WriteTx) error) (enrol.Token, time.Time, error) {
	if err := names.CheckLabel("name", plane.Name); err != nil {
		return enrol.Token{}, time.Time{}, err
	}
	return a.invite(ctx, plane, life, func(c *change) error {
		if err := c.add(plane, by); err != nil {
			return err
		}
		return also(c)
	}, by)
}

func (c *change) add(plane link.Plane, by string) error {
	changed, err := c.Exec(`INSERT INTO identities (org, name, added_us) VALUES (?, ?, ?)
		ON CONFLICT (org, name) DO UPDATE SET added_us = excluded.added_us, removed_us = 0, copied_us = 0 WHERE identities.removed_us > 0`,
		plane.Org, plane.Name, c.at.UnixMicro())
	if err != nil {
		return err
	}
	if changed == 0 {
		return fault.New(fault.KindExists, "data plane %q exists; for a new token for it, because its machine is new or its certificate has expired, use biplane planes token %s", plane.Name, plane.Name)
	}
	c.note(plane, EventAdded, by, "")
	return nil
}

// Invite makes a new token for a plane that is registered. Tokens of that plane that were not used yet are withdrawn.
func (a *Authority) Invite(ctx context.Context, plane link.Plane, life time.Duration, by string) (enrol.Token, time.Time, error) {
	return a.invite(ctx, plane, life, func(c *change) error {
		r, err := load(c, plane)
		if err != nil {
			return err
		}
		if r.removed {
			return gone(plane)
		}
		return nil
	}, by)
}

func gone(plane link.Plane) error {
	return fault.New(fault.KindPrecondition, "data plane %q was removed; biplane planes add %s registers it again", plane.Name, plane.Name)
}

func (a *Authority) invite(ctx context.Context, plane link.Plane, life time.Duration, before func(*change) error, by string) (enrol.Token, time.Time, error) {
	if life == 0 {
		life = tokenLife
	}
	if life < time.Second || life > maxTokenLife {
		return enrol.Token{}, time.Time{}, fault.Invalid("token_life", "must be from 1s to %v, got %v", maxTokenLife, life)
	}
	token := enrol.NewToken(a.Anchor())
	secret := sha256.Sum256([]byte(token.Secret))
	var until time.Time
	err := a.change(ctx, func(c *change) error {
		if err := before(c); err != nil {
			return err
		}
		until = c.at.Add(life)
		at := c.at.UnixMicro()
		if _, err := c.Exec(`DELETE FROM tokens WHERE expires_us < ?`, c.at.Add(-keepTokens).UnixMicro()); err != nil {
			return err
		}
		if _, err := c.Exec(`UPDATE tokens SET withdrawn_us = ? WHERE org = ? AND plane = ? AND used_us = 0 AND withdrawn_us = 0`, at, plane.Org, plane.Name); err != nil {
			return err
		}
		c.note(plane, EventInvited, by, "token "+token.ID)
		_, err := c.Exec(`INSERT INTO tokens (id, org, plane, secret_hash, created_us, expires_us) VALUES (?, ?, ?, ?, ?, ?)`,
			token.ID, plane.Org, plane.Name, secret[:], at, until.UnixMicro())
		return err
	})
	return token, until, err
}

// Remove refuses the plane's certificates and tokens from now on, and has its sessions cut before it returns. also runs in
// the same transaction. by is who asks.
func (a *Authority) Remove(ctx context.Context, plane link.Plane, by string, also func(store.WriteTx) error) error {
	err := a.change(ctx, func(c *change) error {
		r, err := load(c, plane)
		if err != nil {
			return err
		}
		if r.removed {
			return fault.New(fault.KindPrecondition, "data plane %q was removed already", plane.Name)
		}
		at := c.at.UnixMicro()
		if _, err := c.Exec(`UPDATE identities SET removed_us = ?, generation = ?, step = 0, current_print = NULL, current_key = NULL, current_chain = NULL,
			previous_print = NULL, confirmed_us = 0, expires_us = 0, copied_us = 0 WHERE org = ? AND name = ?`,
			at, next(r.generation, c.at), plane.Org, plane.Name); err != nil {
			return err
		}
		if _, err := c.Exec(`UPDATE tokens SET withdrawn_us = ? WHERE org = ? AND plane = ? AND used_us = 0 AND withdrawn_us = 0`, at, plane.Org, plane.Name); err != nil {
			return err
		}
		c.note(plane, EventRemoved, by, "")
		return also(c)
	})
	if err == nil {
		a.tell(&a.removed, plane)
	}
	return err
}

// next is the generation after this one. It follows the clock, so that a register that was put back to an older state
// does not give out a number twice.
func next(generation uint32, now time.Time) uint32 {
	return max(generation+1, uint32(now.Unix()))
}

// OnRemove has fn called, in the goroutine of the cause, when a plane was removed or has enrolled anew: all its sessions
// must be cut at once. A plane that has a good certificate comes back by itself.
func (a *Authority) OnRemove(fn func(link.Plane)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removed = append(a.removed, fn)
}

// OnRenewed has fn called when a plane has shown the next certificate of its chain for the first time: sessions that were
// opened with the one before should end soon, in an orderly way. They may belong to a copy.
func (a *Authority) OnRenewed(fn func(link.Plane)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.renewed = append(a.renewed, fn)
}

func (a *Authority) tell(hooks *[]func(link.Plane), plane link.Plane) {
	a.mu.Lock()
	fns := *hooks // only ever appended to
	a.mu.Unlock()
	for _, fn := range fns {
		fn(plane)
	}
}

// load reads a plane's row.
func load(tx store.Tx, plane link.Plane) (register, error) {
	var r register
	var removedUS, confirmedUS int64
	var current, key, previous []byte
	err := tx.QueryRow(`SELECT generation, step, current_print, current_key, previous_print, confirmed_us, removed_us FROM identities WHERE org = ? AND name = ?`, plane.Org, plane.Name).
		Scan(&r.generation, &r.step, &current, &key, &previous, &confirmedUS, &removedUS)
	if errors.Is(err, store.ErrNoRows) {
		return r, fault.NotFound("data plane", plane.Name)
	}
	if err != nil {
		return r, fmt.Errorf("read the identity of plane %s: %w", plane, err)
	}
	copy(r.current[:], current)
	copy(r.key[:], key)
	copy(r.previous[:], previous)
	r.removed = removedUS > 0
	if confirmedUS > 0 {
		r.confirmed = time.UnixMicro(confirmedUS)
	}
	return r, nil
}

// State says how far a plane's enrolment is.
type State int

// The states.
const (
	Invited  State = iota // its token waits
	Lapsed                // its token expired unused
	Enrolled              //
	Expired               // its certificate expired: it was away for too long
	Removed
)

// Standing is what the register tells of a plane.
type Standing struct {
	State   State
	Expires time.Time // of the newest certificate, or of the token while there is none
	Copied  time.Time // when a second holder was noticed last; zero: never since it enrolled
}

// Standings tells of all planes of an organisation, by name.
func (a *Authority) Standings(ctx context.Context, org string) (map[string]Standing, error) {
	standings := map[string]Standing{}
	now := a.config.Now()
	err := a.db.Read(ctx, func(tx store.Tx) error {
		clear(standings)
		rows, err := tx.Query(`SELECT name, removed_us, expires_us, copied_us,
			(SELECT COALESCE(MAX(t.expires_us), 0) FROM tokens t WHERE t.org = i.org AND t.plane = i.name AND t.used_us = 0 AND t.withdrawn_us = 0)
			FROM identities i WHERE org = ?`, org)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var removedUS, expires, copiedUS, token int64
			if err := rows.Scan(&name, &removedUS, &expires, &copiedUS, &token); err != nil {
				return err
			}
			s := Standing{}
			switch {
			case removedUS > 0:
				s.State = Removed
			case expires > 0:
				s.State, s.Expires = Enrolled, time.UnixMicro(expires)
				if !now.Before(s.Expires) {
					s.State = Expired
				}
			default:
				s.State, s.Expires = Invited, time.UnixMicro(token)
				if !now.Before(s.Expires) {
					s.State = Lapsed
				}
			}
			if copiedUS > 0 {
				s.Copied = time.UnixMicro(copiedUS)
			}
			standings[name] = s
		}
		return rows.Err()
	})
	return standings, err
}
