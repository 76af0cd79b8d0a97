package fleet

import (
	"context"
	"errors"
	"strings"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// DefaultPool is the pool of planes for which none was named.
const DefaultPool = "default"

const (
	maxFrontDoors = 32
	maxHostName   = 253
)

// Register writes down a plane that may report from now on, or one again that was removed; pool "" means DefaultPool.
func (f *Fleet) Register(tx store.WriteTx, plane link.Plane, pool string, frontDoors []string) error {
	if pool == "" {
		pool = DefaultPool
	}
	if err := names.CheckLabel("pool", pool); err != nil {
		return err
	}
	if len(frontDoors) > maxFrontDoors {
		return fault.Invalid("front_doors", "are %d; a plane may have at most %d", len(frontDoors), maxFrontDoors)
	}
	_, err := tx.Exec(`INSERT INTO planes (org, name, pool, first_seen_us, last_heard_us) VALUES (?, ?, ?, ?, 0)
		ON CONFLICT (org, name) DO UPDATE SET pool = excluded.pool, removed_us = 0`, plane.Org, plane.Name, pool, f.now().UnixMicro())
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM front_doors WHERE org = ? AND plane = ?`, plane.Org, plane.Name); err != nil {
		return err
	}
	for _, name := range frontDoors {
		name = strings.ToLower(name)
		if err := checkHost(name); err != nil {
			return err
		}
		added, err := tx.Exec(`INSERT INTO front_doors (name, org, plane) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`, name, plane.Org, plane.Name)
		if err != nil {
			return err
		}
		if added == 0 {
			return fault.New(fault.KindExists, "front_doors: %q leads to another data plane already, or was named twice", name)
		}
	}
	return nil
}

// checkHost accepts a host name: labels of letters, digits and dashes. An address is none.
func checkHost(name string) error {
	refused := fault.Invalid("front_doors", "must be host names such as flyte.example.com, got %q", name)
	if name == "" || len(name) > maxHostName {
		return refused
	}
	letters := false
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return refused
		}
		letters = strings.Trim(label, "0123456789") != ""
	}
	if !letters { // the last label of a host name is no number
		return refused
	}
	return nil
}

// Remove takes the plane out of the fleet: its front doors close, its commands are dropped. What it reported stays.
func (f *Fleet) Remove(tx store.WriteTx, plane link.Plane) error {
	for _, query := range []string{`DELETE FROM front_doors WHERE org = ? AND plane = ?`, `DELETE FROM commands WHERE org = ? AND plane = ?`} {
		if _, err := tx.Exec(query, plane.Org, plane.Name); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`UPDATE planes SET removed_us = ? WHERE org = ? AND name = ?`, f.now().UnixMicro(), plane.Org, plane.Name)
	return err
}

// FrontDoor is the plane that a host name was registered for; false when there is none.
func (f *Fleet) FrontDoor(ctx context.Context, name string) (link.Plane, bool, error) {
	var plane link.Plane
	err := f.db.Read(ctx, func(tx store.Tx) error {
		return tx.QueryRow(`SELECT org, plane FROM front_doors WHERE name = ?`, strings.ToLower(name)).Scan(&plane.Org, &plane.Name)
	})
	if errors.Is(err, store.ErrNoRows) {
		return link.Plane{}, false, nil
	}
	return plane, err == nil, err
}

// Known says whether the organisation has a plane of this name that was not removed; any plane when name is empty.
func (f *Fleet) Known(ctx context.Context, org, name string) (bool, error) {
	var n int
	err := f.db.Read(ctx, func(tx store.Tx) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM planes WHERE org = ? AND (name = ? OR ? = '') AND removed_us = 0`, org, name, name).Scan(&n)
	})
	return n > 0, err
}

// Place is the pool of a plane and the front doors that were registered for it.
func (f *Fleet) Place(ctx context.Context, plane link.Plane) (pool string, frontDoors []string, err error) {
	err = f.db.Read(ctx, func(tx store.Tx) error {
		err := tx.QueryRow(`SELECT pool FROM planes WHERE org = ? AND name = ?`, plane.Org, plane.Name).Scan(&pool)
		if errors.Is(err, store.ErrNoRows) {
			return fault.NotFound("data plane", plane.Name)
		}
		if err != nil {
			return err
		}
		doors, err := doorsOf(tx, plane.Org)
		frontDoors = doors[plane.Name]
		return err
	})
	return pool, frontDoors, err
}

// doorsOf are the registered front doors of an organisation, by plane.
func doorsOf(tx store.Tx, org string) (map[string][]string, error) {
	rows, err := tx.Query(`SELECT plane, name FROM front_doors WHERE org = ? ORDER BY name`, org)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	doors := map[string][]string{}
	for rows.Next() {
		var plane, name string
		if err := rows.Scan(&plane, &name); err != nil {
			return nil, err
		}
		doors[plane] = append(doors[plane], name)
	}
	return doors, rows.Err()
}
