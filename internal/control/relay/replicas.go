package relay

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/pace"
	"biplane.dev/biplane/internal/store"
)

const (
	beatEvery    = 5 * time.Second
	lifeInBeats  = 3
	settleTime   = 20 * time.Millisecond // changes that come together are written together
	withdrawTime = 3 * time.Second
	maxPeers     = 2 // that are tried for one connection
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the tables of the replicas.
func Migrations() store.Migrations {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return store.Migrations{Part: "relay", Files: files}
}

// Replicas are all replicas of the relay: which planes each has sessions with stands in the database that they share.
type Replicas struct {
	// DB was opened with Migrations.
	DB store.DB
	// Name is this replica's; every process has one of its own.
	Name string
	// Address is host:port of this replica's door for the others.
	Address string
	// TLS connects to other replicas and to nobody else, whatever their address.
	TLS *tls.Config
	// Dial makes connections. Nil: directly.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Every is how often the others are told that this one lives. 0 means 5 s. A replica that does not for three times as long is
	// not used.
	Every time.Duration
	// Log gets what the database says. Default slog.Default().
	Log *slog.Logger

	mu    sync.Mutex
	beats beats
}

// peer is another replica that has a session with a plane.
type peer struct {
	replica string
	address string
	plane   link.Plane
}

// run keeps this replica's rows as they should be until ctx is done, and removes them then. count is what it has; changed says
// that it may be different.
func (s *Replicas) run(ctx context.Context, changed <-chan struct{}, count func() map[link.Plane]int) {
	log := s.Log
	if log == nil {
		log = slog.Default()
	}
	every := s.Every
	if every == 0 {
		every = beatEvery
	}
	s.mu.Lock()
	s.beats.life = lifeInBeats * every
	s.mu.Unlock()
	written := map[link.Plane]int{}
	beat := time.NewTimer(0)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTime)
			defer cancel()
			if err := s.DB.Write(patience, func(tx store.WriteTx) error { return remove(tx, s.Name) }); err != nil {
				log.Warn("relay: this replica is still in the register; the others will notice that it is gone", "err", err)
			}
			return
		case <-changed:
			select {
			case <-time.After(settleTime):
			case <-ctx.Done():
				continue
			}
		case <-beat.C:
			beat.Reset(pace.Jittered(every))
		}
		now := count()
		if err := s.publish(ctx, written, now); err != nil {
			if ctx.Err() == nil {
				log.Warn("relay: the register was not written; it is tried again", "err", err)
			}
			continue
		}
		written = now
		if err := s.observe(ctx); err != nil && ctx.Err() == nil {
			log.Warn("relay: the register was not read; it is tried again", "err", err)
		}
	}
}

// publish writes the beat and what has changed.
func (s *Replicas) publish(ctx context.Context, written, now map[link.Plane]int) error {
	return s.DB.Write(ctx, func(tx store.WriteTx) error {
		known, err := tx.Exec(`UPDATE relay_replicas SET address = ?, beat = beat + 1 WHERE name = ?`, s.Address, s.Name)
		if err != nil {
			return err
		}
		if known == 0 { // the first time, or because another took this one for dead
			written = nil
			if _, err := tx.Exec(`DELETE FROM relay_planes WHERE replica = ?`, s.Name); err != nil {
				return err
			}
			// Not from 1: whoever remembers an earlier beat must see another.
			if _, err := tx.Exec(`INSERT INTO relay_replicas (name, address, beat) VALUES (?, ?, ?)`, s.Name, s.Address, rand.Int64N(1<<40)); err != nil {
				return err
			}
		}
		for plane := range written {
			if now[plane] == 0 {
				if _, err := tx.Exec(`DELETE FROM relay_planes WHERE replica = ? AND org = ? AND plane = ?`, s.Name, plane.Org, plane.Name); err != nil {
					return err
				}
			}
		}
		for plane, sessions := range now {
			if written[plane] == sessions {
				continue
			}
			_, err := tx.Exec(`INSERT INTO relay_planes (replica, org, plane, sessions) VALUES (?, ?, ?, ?)
				ON CONFLICT (replica, org, plane) DO UPDATE SET sessions = excluded.sessions`, s.Name, plane.Org, plane.Name, sessions)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func remove(tx store.WriteTx, replica string) error {
	if _, err := tx.Exec(`DELETE FROM relay_planes WHERE replica = ?`, replica); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM relay_replicas WHERE name = ?`, replica)
	return err
}

// observe notes the others' beats, and removes what those have left that are dead.
func (s *Replicas) observe(ctx context.Context) error {
	all := map[string]int64{}
	err := s.DB.Read(ctx, func(tx store.Tx) error {
		clear(all)
		rows, err := tx.Query(`SELECT name, beat FROM relay_replicas WHERE name <> ?`, s.Name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var beat int64
			if err := rows.Scan(&name, &beat); err != nil {
				return err
			}
			all[name] = beat
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.beats.note(all, time.Now())
	dead := s.beats.dead(time.Now())
	s.mu.Unlock()
	if len(dead) == 0 {
		return nil
	}
	return s.DB.Write(ctx, func(tx store.WriteTx) error {
		for name, beat := range dead {
			var now int64
			err := tx.QueryRow(`SELECT beat FROM relay_replicas WHERE name = ?`, name).Scan(&now)
			switch {
			case errors.Is(err, store.ErrNoRows) || err == nil && now != beat:
				continue // it is gone, or lives
			case err != nil:
				return err
			}
			if err := remove(tx, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// peers are other replicas with sessions of the target, at most maxPeers, in a random order.
func (s *Replicas) peers(ctx context.Context, to target) ([]peer, error) {
	const query = `SELECT p.replica, r.address, r.beat, p.org, p.plane FROM relay_planes p JOIN relay_replicas r ON r.name = p.replica WHERE p.org = ? AND p.replica <> ?`
	type row struct {
		peer
		beat int64
	}
	var rows []row
	err := s.DB.Read(ctx, func(tx store.Tx) error {
		rows = nil
		q, args := query+` LIMIT 100`, []any{to.Org, s.Name}
		if to.Name != "" {
			q, args = query+` AND p.plane = ? LIMIT 100`, append(args, to.Name)
		}
		found, err := tx.Query(q, args...)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			var r row
			if err := found.Scan(&r.replica, &r.address, &r.beat, &r.plane.Org, &r.plane.Name); err != nil {
				return err
			}
			rows = append(rows, r)
		}
		return found.Err()
	})
	if err != nil {
		return nil, err
	}
	rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	s.mu.Lock()
	defer s.mu.Unlock()
	var peers []peer
	tried := map[string]bool{}
	for _, r := range rows {
		if !tried[r.replica] && len(peers) < maxPeers && s.beats.alive(r.replica, r.beat, time.Now()) {
			tried[r.replica] = true
			peers = append(peers, r.peer)
		}
	}
	return peers, nil
}

// others is how many other replicas live.
func (s *Replicas) others() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for name, was := range s.beats.seen {
		if s.beats.alive(name, was.beat, time.Now()) {
			n++
		}
	}
	return n
}
