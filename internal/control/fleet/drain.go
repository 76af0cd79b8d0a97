package fleet

import (
	"context"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// Drain is the order that a plane accepts no new runs. The zero Drain is none.
type Drain struct {
	Ordered time.Time
	By      string
}

// Wanted says whether the plane is to accept no new runs.
func (d Drain) Wanted() bool { return !d.Ordered.IsZero() }

// Drain orders a plane to accept no new runs, or takes that back. What is so already is not ordered again. The caller wakes the plane's
// session.
func (f *Fleet) Drain(ctx context.Context, plane link.Plane, undo bool, by string) error {
	return f.db.Write(ctx, func(tx store.WriteTx) error {
		at := f.now().UnixMicro()
		if undo {
			at, by = 0, ""
		}
		changed, err := tx.Exec(`UPDATE planes SET drain_us = ?, drain_by = ? WHERE org = ? AND name = ? AND (drain_us = 0) <> (? = 0)`,
			at, by, plane.Org, plane.Name, at)
		if err != nil {
			return err
		}
		if changed == 0 {
			var known bool
			err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM planes WHERE org = ? AND name = ?)`, plane.Org, plane.Name).Scan(&known)
			if err == nil && !known {
				err = fault.NotFound("data plane", plane.Name)
			}
			return err
		}
		_, err = f.order(tx, plane, drainCommand(undo))
		return err
	})
}

func drainCommand(undo bool) *linkv1.Command {
	return &linkv1.Command{Order: &linkv1.Command_Drain{Drain: &linkv1.Drain{Undo: undo}}}
}

// reconcileDrain compares what is wanted with what a plane says that begins a session. A plane that has forgotten the order (its database is
// a new one) gets it again; of one that drains while this database knows of no order it is taken for ordered. While a command waits for
// the plane nothing is concluded.
func (f *Fleet) reconcileDrain(tx store.WriteTx, plane link.Plane, draining bool) error {
	var ordered, waiting int64
	err := tx.QueryRow(`SELECT drain_us, (SELECT COUNT(*) FROM commands WHERE org = ? AND plane = ?) FROM planes WHERE org = ? AND name = ?`,
		plane.Org, plane.Name, plane.Org, plane.Name).Scan(&ordered, &waiting)
	if err != nil || waiting > 0 || draining == (ordered > 0) {
		return err
	}
	if draining {
		_, err = tx.Exec(`UPDATE planes SET drain_us = ? WHERE org = ? AND name = ?`, f.now().UnixMicro(), plane.Org, plane.Name)
		return err
	}
	_, err = f.enqueue(tx, plane, drainCommand(false))
	return err
}
