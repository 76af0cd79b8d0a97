package journal

import (
	"context"
	"errors"

	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// Lease is the epoch of the plane's lease on a run; 0 when there is no such run, or it is fenced.
func (j *Journal) Lease(ctx context.Context, run names.Run) (epoch int64, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error {
		return tx.QueryRow(`SELECT epoch FROM runs WHERE org = ? AND project = ? AND domain = ? AND name = ? AND fenced = 0`,
			run.Org, run.Project.Project, run.Domain, run.Name).Scan(&epoch)
	})
	if errors.Is(err, store.ErrNoRows) {
		return 0, nil
	}
	return epoch, err
}

// Fence ends the plane's lease on a run if it is not above the epoch: from now on nothing of the run is reported. It says whether the lease is
// over, now or before; a run that is not there has none.
func (j *Journal) Fence(ctx context.Context, run names.Run, epoch int64) (over bool, err error) {
	err = j.db.Write(ctx, func(tx store.WriteTx) error {
		changed, err := tx.Exec(`UPDATE runs SET fenced = 1 WHERE org = ? AND project = ? AND domain = ? AND name = ? AND epoch <= ?`,
			run.Org, run.Project.Project, run.Domain, run.Name, epoch)
		over = changed > 0
		return err
	})
	return over, err
}

// Draining says whether the plane takes no new runs.
func (j *Journal) Draining(ctx context.Context) (draining bool, err error) {
	err = j.db.Read(ctx, func(tx store.Tx) error { return tx.QueryRow(`SELECT draining FROM orders`).Scan(&draining) })
	return draining, err
}

// SetDraining keeps whether the plane takes no new runs.
func (j *Journal) SetDraining(ctx context.Context, draining bool) error {
	return j.db.Write(ctx, func(tx store.WriteTx) error {
		_, err := tx.Exec(`UPDATE orders SET draining = ?`, draining)
		return err
	})
}
