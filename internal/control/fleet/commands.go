package fleet

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// MaxPending bounds the commands that wait for one plane.
const MaxPending = 1000

// Order queues a command for the plane and returns its number. The caller wakes the plane's session.
//
// Numbers rise with the clock (microseconds since 1970), so that a control plane that was put back to an older state, or
// begun afresh, does not give out numbers that the plane has seen already.
func (f *Fleet) Order(ctx context.Context, plane link.Plane, command *linkv1.Command) (seq int64, err error) {
	err = f.db.Write(ctx, func(tx store.WriteTx) error {
		seq, err = f.order(tx, plane, command)
		return err
	})
	return seq, err
}

func (f *Fleet) order(tx store.WriteTx, plane link.Plane, command *linkv1.Command) (seq int64, err error) {
	var removed, pending int64
	err = tx.QueryRow(`SELECT removed_us, (SELECT COUNT(*) FROM commands WHERE org = ? AND plane = ?) FROM planes WHERE org = ? AND name = ?`,
		plane.Org, plane.Name, plane.Org, plane.Name).Scan(&removed, &pending)
	switch {
	case errors.Is(err, store.ErrNoRows):
		return 0, fault.NotFound("data plane", plane.Name)
	case err != nil:
		return 0, err
	case removed > 0:
		return 0, fault.New(fault.KindPrecondition, "data plane %q was removed, so nothing can be ordered from it", plane.Name)
	case pending >= MaxPending:
		return 0, fault.New(fault.KindExhausted, "%d commands wait for data plane %q already; try again when it reports", pending, plane.Name)
	}
	return f.enqueue(tx, plane, command)
}

// Owe queues a command that follows from what was recorded in the same transaction, and so cannot be refused; the caller bounds how many there
// are. A plane that was removed, or was never heard of, is owed nothing: false. The caller wakes the plane's session after the commit.
func (f *Fleet) Owe(tx store.WriteTx, plane link.Plane, command *linkv1.Command) (owed bool, err error) {
	err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM planes WHERE org = ? AND name = ? AND removed_us = 0)`, plane.Org, plane.Name).Scan(&owed)
	if err != nil || !owed {
		return false, err
	}
	_, err = f.enqueue(tx, plane, command)
	return err == nil, err
}

func (f *Fleet) enqueue(tx store.WriteTx, plane link.Plane, command *linkv1.Command) (seq int64, err error) {
	raw, err := proto.Marshal(command)
	if err != nil {
		return 0, fmt.Errorf("encode a command: %w", err)
	}
	var issued, applied int64
	if err := tx.QueryRow(`SELECT commands_issued, commands_applied FROM planes WHERE org = ? AND name = ?`, plane.Org, plane.Name).Scan(&issued, &applied); err != nil {
		return 0, err
	}
	seq = max(f.now().UnixMicro(), issued+1, applied+1)
	if _, err := tx.Exec(`UPDATE planes SET commands_issued = ? WHERE org = ? AND name = ?`, seq, plane.Org, plane.Name); err != nil {
		return 0, err
	}
	_, err = tx.Exec(`INSERT INTO commands (org, plane, seq, command) VALUES (?, ?, ?, ?)`, plane.Org, plane.Name, seq, raw)
	return seq, err
}

// Commands returns up to limit queued commands with a number above after, in order.
func (f *Fleet) Commands(ctx context.Context, plane link.Plane, after int64, limit int) ([]*linkv1.Command, error) {
	var commands []*linkv1.Command
	err := f.db.Read(ctx, func(tx store.Tx) error {
		commands = nil
		rows, err := tx.Query(`SELECT seq, command FROM commands WHERE org = ? AND plane = ? AND seq > ? ORDER BY seq LIMIT ?`, plane.Org, plane.Name, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq int64
			var raw []byte
			if err := rows.Scan(&seq, &raw); err != nil {
				return err
			}
			command := &linkv1.Command{}
			if err := proto.Unmarshal(raw, command); err != nil {
				return fmt.Errorf("command %d of plane %s: %w", seq, plane, err)
			}
			command.Seq = seq
			commands = append(commands, command)
		}
		return rows.Err()
	})
	return commands, err
}

// CommandsApplied forgets the commands up to the cursor.
func (f *Fleet) CommandsApplied(ctx context.Context, plane link.Plane, cursor int64) error {
	return f.db.Write(ctx, func(tx store.WriteTx) error { return applied(tx, plane, cursor) })
}

func applied(tx store.WriteTx, plane link.Plane, cursor int64) error {
	if _, err := tx.Exec(`DELETE FROM commands WHERE org = ? AND plane = ? AND seq <= ?`, plane.Org, plane.Name, cursor); err != nil {
		return err
	}
	_, err := tx.Exec(`UPDATE planes SET commands_applied = ? WHERE org = ? AND name = ?`, cursor, plane.Org, plane.Name)
	return err
}

// reconcile compares the queue with what the plane says at the beginning of a session. A plane that has applied more than was
// ever issued here has heard of a later state of this control plane; what waits is numbered anew above that, so that it
// is not taken for something applied.
func reconcile(tx store.WriteTx, plane link.Plane, cursor int64) error {
	var issued int64
	if err := tx.QueryRow(`SELECT commands_issued FROM planes WHERE org = ? AND name = ?`, plane.Org, plane.Name).Scan(&issued); err != nil {
		return err
	}
	if cursor <= issued {
		return applied(tx, plane, cursor)
	}
	waiting, err := numbers(tx, plane)
	if err != nil {
		return err
	}
	next := cursor
	for _, seq := range waiting {
		next++ // above every number in the table, so no two rows ever share one on the way
		if _, err := tx.Exec(`UPDATE commands SET seq = ? WHERE org = ? AND plane = ? AND seq = ?`, next, plane.Org, plane.Name, seq); err != nil {
			return err
		}
	}
	_, err = tx.Exec(`UPDATE planes SET commands_issued = ?, commands_applied = ? WHERE org = ? AND name = ?`, next, cursor, plane.Org, plane.Name)
	return err
}

func numbers(tx store.Tx, plane link.Plane) ([]int64, error) {
	rows, err := tx.Query(`SELECT seq FROM commands WHERE org = ? AND plane = ? ORDER BY seq`, plane.Org, plane.Name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []int64
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, err
		}
		all = append(all, seq)
	}
	return all, rows.Err()
}
