package fleet

import (
	"context"
	"embed"
	"io/fs"
	"sync"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// keepEvery is how often a heartbeat is written down; between, the newest is in memory only.
const keepEvery = 15 * time.Second

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the fleet's tables.
func Migrations() store.Migrations {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return store.Migrations{Part: "fleet", Files: files}
}

// Fleet is the control plane's view of its planes.
type Fleet struct {
	db  store.DB
	now func() time.Time

	mu   sync.Mutex
	open map[link.Plane]*presence // planes with a session
}

type presence struct {
	since  time.Time
	heard  time.Time
	kept   time.Time
	health *linkv1.Health
}

// New makes a fleet on a database that was opened with Migrations. now is the clock.
func New(db store.DB, now func() time.Time) *Fleet {
	return &Fleet{db: db, now: now, open: map[link.Plane]*presence{}}
}

// Plane is what is known of one plane.
type Plane struct {
	link.Plane
	Reporting       bool
	Since           time.Time // when it began to report, or when it was last heard
	LastHeard       time.Time // zero: never
	Removed         bool
	Pool            string
	FrontDoors      []string // those that were registered
	Drain           Drain    // as it was ordered; Health says whether the plane does it
	Health          *linkv1.Health
	CommandsPending int64
}

// Joined begins a session of the plane; the row is written in the caller's transaction. applied is the number of the
// plane's last command.
func (f *Fleet) Joined(tx store.WriteTx, plane link.Plane, health *linkv1.Health, applied int64) error {
	now := f.now().UnixMicro()
	_, err := tx.Exec(`INSERT INTO planes (org, name, first_seen_us, last_heard_us) VALUES (?, ?, ?, ?) ON CONFLICT (org, name) DO NOTHING`,
		plane.Org, plane.Name, now, now)
	if err != nil {
		return err
	}
	if err := f.keep(tx, plane, health); err != nil {
		return err
	}
	if err := reconcile(tx, plane, applied); err != nil {
		return err
	}
	return f.reconcileDrain(tx, plane, health.GetDraining())
}

// Present marks the plane as reporting, after Joined was committed.
func (f *Fleet) Present(plane link.Plane, health *linkv1.Health) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[plane] = &presence{since: now, heard: now, kept: now, health: health}
}

// Heard notes a sign of life. health may be nil.
func (f *Fleet) Heard(ctx context.Context, plane link.Plane, health *linkv1.Health) error {
	now := f.now()
	f.mu.Lock()
	p := f.open[plane]
	if p == nil {
		f.mu.Unlock()
		return nil
	}
	p.heard = now
	if health != nil {
		p.health = health
	}
	health = p.health
	due := now.Sub(p.kept) >= keepEvery
	if due {
		p.kept = now
	}
	f.mu.Unlock()
	if !due {
		return nil
	}
	return f.db.Write(ctx, func(tx store.WriteTx) error { return f.keep(tx, plane, health) })
}

// Gone ends the plane's session. The time it was last heard is written down, so that it outlives this process.
func (f *Fleet) Gone(ctx context.Context, plane link.Plane) error {
	f.mu.Lock()
	p := f.open[plane]
	delete(f.open, plane)
	f.mu.Unlock()
	if p == nil {
		return nil
	}
	return f.db.Write(ctx, func(tx store.WriteTx) error {
		if err := f.keep(tx, plane, p.health); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE planes SET last_heard_us = ? WHERE org = ? AND name = ?`, p.heard.UnixMicro(), plane.Org, plane.Name)
		return err
	})
}

func (f *Fleet) keep(tx store.WriteTx, plane link.Plane, h *linkv1.Health) error {
	_, err := tx.Exec(`UPDATE planes SET last_heard_us = ?, version = ?, cpu_millis = ?, cpu_millis_used = ?, memory_bytes = ?, memory_bytes_used = ?,
		attempts_running = ?, actions_queued = ?, runs_active = ?, head = ?, draining = ? WHERE org = ? AND name = ?`,
		f.now().UnixMicro(), h.GetVersion(), h.GetCpuMillis(), h.GetCpuMillisUsed(), h.GetMemoryBytes(), h.GetMemoryBytesUsed(),
		h.GetAttemptsRunning(), h.GetActionsQueued(), h.GetRunsActive(), h.GetHead(), h.GetDraining(), plane.Org, plane.Name)
	return err
}

// Planes lists the planes of an organisation by name.
func (f *Fleet) Planes(ctx context.Context, org string) ([]Plane, error) {
	var planes []Plane
	err := f.db.Read(ctx, func(tx store.Tx) error {
		planes = nil
		rows, err := tx.Query(`SELECT name, version, last_heard_us, cpu_millis, cpu_millis_used, memory_bytes, memory_bytes_used, attempts_running,
			actions_queued, runs_active, head, draining, drain_us, drain_by, pool, removed_us, (SELECT COUNT(*) FROM commands WHERE commands.org = planes.org AND commands.plane = planes.name)
			FROM planes WHERE org = ? ORDER BY name`, org)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			p := Plane{Plane: link.Plane{Org: org}, Health: &linkv1.Health{}}
			var heard, removed, drain int64
			h := p.Health
			if err := rows.Scan(&p.Name, &h.Version, &heard, &h.CpuMillis, &h.CpuMillisUsed, &h.MemoryBytes, &h.MemoryBytesUsed, &h.AttemptsRunning,
				&h.ActionsQueued, &h.RunsActive, &h.Head, &h.Draining, &drain, &p.Drain.By, &p.Pool, &removed, &p.CommandsPending); err != nil {
				return err
			}
			if heard > 0 {
				p.LastHeard = time.UnixMicro(heard)
			}
			if drain > 0 {
				p.Drain.Ordered = time.UnixMicro(drain)
			}
			p.Since, p.Removed = p.LastHeard, removed > 0
			planes = append(planes, p)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		doors, err := doorsOf(tx, org)
		for i := range planes {
			planes[i].FrontDoors = doors[planes[i].Name]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range planes {
		if p := f.open[planes[i].Plane]; p != nil {
			planes[i].Reporting, planes[i].Since, planes[i].LastHeard, planes[i].Health = true, p.since, p.heard, p.health
		}
	}
	return planes, nil
}
