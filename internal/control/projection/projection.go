package projection

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/catalog"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/control/placement"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the projection's own table: the cursors.
func Migrations() store.Migrations {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return store.Migrations{Part: "projection", Files: files}
}

// Projection is a link.Control.
type Projection struct {
	db    store.DB
	fleet *fleet.Fleet
	log   *slog.Logger
	// Wake tells a plane's session that a command waits. Who serves sessions sets it before the first one.
	Wake func(link.Plane)
}

// New projects into a database that was opened with the Migrations of projection, ledger, catalog and fleet.
func New(db store.DB, planes *fleet.Fleet, log *slog.Logger) *Projection {
	return &Projection{db: db, fleet: planes, log: log, Wake: func(link.Plane) {}}
}

var _ link.Control = (*Projection)(nil)

// position is how far a plane's history has been projected.
type position struct {
	life        string
	timeline    int64
	cursor      int64
	resendUntil int64
}

func load(tx store.Tx, plane link.Plane) (position, bool, error) {
	var p position
	err := tx.QueryRow(`SELECT life, timeline, cursor, resend_until FROM cursors WHERE org = ? AND plane = ?`, plane.Org, plane.Name).
		Scan(&p.life, &p.timeline, &p.cursor, &p.resendUntil)
	if errors.Is(err, store.ErrNoRows) {
		return p, false, nil
	}
	return p, err == nil, err
}

func (p position) save(tx store.WriteTx, plane link.Plane) error {
	_, err := tx.Exec(`INSERT INTO cursors (org, plane, life, timeline, cursor, resend_until) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (org, plane) DO UPDATE SET life = excluded.life, timeline = excluded.timeline, cursor = excluded.cursor, resend_until = excluded.resend_until`,
		plane.Org, plane.Name, p.life, p.timeline, p.cursor, p.resendUntil)
	return err
}

// follows says whether the history that a plane tells of contains the position. The life of the cursor must be among its lives,
// and must have got as far as the cursor before the next one began.
func (p position) follows(hello *linkv1.Hello) bool {
	lives := hello.GetLives()
	for i, life := range lives {
		if life.GetId() != p.life {
			continue
		}
		reached := hello.GetHealth().GetHead()
		if i+1 < len(lives) {
			reached = lives[i+1].GetBeganAt()
		}
		return p.cursor <= reached
	}
	return false
}

// Hello implements link.Control.
func (p *Projection) Hello(ctx context.Context, plane link.Plane, hello *linkv1.Hello) (int64, error) {
	present := hello.GetLives()[len(hello.GetLives())-1].GetId()
	var at position
	err := p.db.Write(ctx, func(tx store.WriteTx) error {
		var known bool
		var err error
		if at, known, err = load(tx, plane); err != nil {
			return err
		}
		replaced := known && !at.follows(hello)
		if replaced {
			p.log.Warn("the plane's history is not the one that was reported before (a database that was put back?); everything is asked for again", "plane", plane.String(), "cursor", at.cursor, "head", hello.GetHealth().GetHead())
			at = position{timeline: at.timeline + 1, resendUntil: hello.GetHealth().GetHead()}
			if err := ledger.ForgetStops(tx, plane); err != nil {
				return err
			}
			if at.resendUntil == 0 { // there is nothing to wait for
				if err := sweep(ledger.NewBatch(tx, plane, at.timeline), catalog.NewBatch(tx, plane, at.timeline)); err != nil {
					return err
				}
			}
		}
		at.life = present
		if err := at.save(tx, plane); err != nil {
			return err
		}
		return p.fleet.Joined(tx, plane, hello.GetHealth(), hello.GetCommandsApplied())
	})
	if err != nil {
		return 0, err
	}
	p.fleet.Present(plane, hello.GetHealth())
	return at.cursor, nil
}

// Apply implements link.Control.
func (p *Projection) Apply(ctx context.Context, plane link.Plane, batch *linkv1.Events) (int64, error) {
	var at position
	var stops []ledger.Stop
	err := p.db.Write(ctx, func(tx store.WriteTx) error {
		var known bool
		var err error
		if at, known, err = load(tx, plane); err != nil {
			return err
		}
		if !known {
			return errors.New("the plane's cursor is gone: the database was replaced under the running control plane")
		}
		runs, things := ledger.NewBatch(tx, plane, at.timeline), catalog.NewBatch(tx, plane, at.timeline)
		for _, event := range batch.GetEvents() {
			if event.GetSeq() <= at.cursor {
				continue
			}
			if err := check(plane, event); err != nil {
				p.log.Error("an event cannot be recorded and is passed over", "plane", plane.String(), "seq", event.GetSeq(), "error", err)
				continue
			}
			if err := project(runs, things, event); err != nil {
				return fmt.Errorf("event %d: %w", event.GetSeq(), err)
			}
		}
		if stops, err = p.orderStops(tx, runs); err != nil {
			return err
		}
		at.cursor = max(at.cursor, batch.GetThrough())
		if at.resendUntil > 0 && at.cursor >= at.resendUntil {
			at.resendUntil = 0
			if err := sweep(runs, things); err != nil {
				return err
			}
		}
		return at.save(tx, plane)
	})
	if err != nil {
		return 0, err
	}
	for _, stop := range stops {
		p.log.Warn("a plane must not go on with a run", "plane", stop.Plane.String(), "run", stop.Run.GetName(), "epoch", stop.Epoch, "reason", stop.Reason.String(), "holder", stop.Holder)
		p.Wake(stop.Plane)
	}
	return at.cursor, p.fleet.Heard(ctx, plane, nil)
}

// orderStops queues what the ledger found to be due, in the transaction of the events that it follows from.
func (p *Projection) orderStops(tx store.WriteTx, runs *ledger.Batch) ([]ledger.Stop, error) {
	return runs.OrderStops(func(stop ledger.Stop) (bool, error) {
		order := &linkv1.StopRun{Run: stop.Run, Epoch: stop.Epoch, Reason: stopReasons[stop.Reason], Holder: stop.Holder}
		return p.fleet.Owe(tx, stop.Plane, &linkv1.Command{Order: &linkv1.Command_StopRun{StopRun: order}})
	})
}

var stopReasons = map[placement.Reason]linkv1.StopReason{
	placement.Moved: linkv1.StopReason_STOP_REASON_MOVED, placement.NameConflict: linkv1.StopReason_STOP_REASON_NAME_CONFLICT,
}

func sweep(runs *ledger.Batch, things *catalog.Batch) error {
	return errors.Join(runs.Sweep(), things.Sweep())
}

func project(runs *ledger.Batch, things *catalog.Batch, event *linkv1.Event) error {
	seq := event.GetSeq()
	switch row := event.GetRow().(type) {
	case *linkv1.Event_Run:
		return runs.Run(seq, row.Run)
	case *linkv1.Event_Action:
		return runs.Action(seq, row.Action)
	case *linkv1.Event_Attempt:
		return runs.Attempt(seq, row.Attempt)
	case *linkv1.Event_Project:
		return things.Project(seq, row.Project)
	case *linkv1.Event_Task:
		return things.Task(seq, row.Task)
	case *linkv1.Event_Trigger:
		return things.Trigger(seq, row.Trigger)
	default:
		// A kind of row that only a newer plane has. The version that learns to store it comes with a migration that sets
		// every cursor to 0, so that the planes send it again.
		return nil
	}
}

// Heard implements link.Control.
func (p *Projection) Heard(ctx context.Context, plane link.Plane, health *linkv1.Health) error {
	return p.fleet.Heard(ctx, plane, health)
}

// Gone implements link.Control.
func (p *Projection) Gone(plane link.Plane) {
	// The session's own context is done; the note must be written all the same.
	if err := p.fleet.Gone(context.Background(), plane); err != nil {
		p.log.Error("when the plane was last heard could not be written down", "plane", plane.String(), "error", err)
	}
}

// Commands implements link.Control.
func (p *Projection) Commands(ctx context.Context, plane link.Plane, after int64, limit int) ([]*linkv1.Command, error) {
	return p.fleet.Commands(ctx, plane, after, limit)
}

// CommandsApplied implements link.Control.
func (p *Projection) CommandsApplied(ctx context.Context, plane link.Plane, cursor int64) error {
	return p.fleet.CommandsApplied(ctx, plane, cursor)
}

// Cursor is how far the plane's history has been projected.
func (p *Projection) Cursor(ctx context.Context, plane link.Plane) (int64, error) {
	var at position
	err := p.db.Read(ctx, func(tx store.Tx) error {
		var err error
		at, _, err = load(tx, plane)
		return err
	})
	return at.cursor, err
}
