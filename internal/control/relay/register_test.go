package relay_test

import (
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/control/door"
	"biplane.dev/biplane/internal/control/relay"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

type storeTx = store.WriteTx

// claim writes that the replica has a session with the plane, when the replica itself has written its own row.
func (town *town) claim(replica string, of link.Plane) {
	town.t.Helper()
	eventually(town.t, "the replica is in the register", func() bool { return town.rows("relay_replicas", replica) == 1 })
	err := town.db.Write(town.t.Context(), func(tx storeTx) error {
		_, err := tx.Exec(`INSERT INTO relay_planes (replica, org, plane, sessions) VALUES (?, ?, ?, 1)`, replica, of.Org, of.Name)
		return err
	})
	if err != nil {
		town.t.Fatal(err)
	}
}

// rows counts the rows of a replica.
func (town *town) rows(table, replica string) (n int) {
	town.t.Helper()
	column := map[string]string{"relay_replicas": "name", "relay_planes": "replica"}[table]
	err := town.db.Read(town.t.Context(), func(tx store.Tx) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM `+table+` WHERE `+column+` = ?`, replica).Scan(&n)
	})
	if err != nil {
		town.t.Fatal(err)
	}
	return n
}

func TestTheRegisterFollowsTheSessions(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	town.every = 50 * time.Millisecond
	a := town.open("a", relay.Limits{}, door.Limits{})
	b := town.open("b", relay.Limits{}, door.Limits{})
	eventually(t, "they see each other", func() bool { return a.count("biplane_relay_peers") == 1 && b.count("biplane_relay_peers") == 1 })
	p := town.plane("east")
	p.dial(a, 2)
	eventually(t, "the plane is in the register", func() bool { return town.rows("relay_planes", "a") == 1 })
	p.leave()
	eventually(t, "the plane is out of it", func() bool { return town.rows("relay_planes", "a") == 0 })
	p.dial(a, 1)
	eventually(t, "the plane is in it again", func() bool { return town.rows("relay_planes", "a") == 1 })

	// One that another took for dead writes everything anew.
	err := town.db.Write(t.Context(), func(tx storeTx) error {
		if _, err := tx.Exec(`DELETE FROM relay_planes`); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM relay_replicas`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return town.rows("relay_planes", "a") == 1 })

	a.stop()
	if town.rows("relay_replicas", "a")+town.rows("relay_planes", "a") != 0 {
		t.Error("a replica that has stopped is still in the register")
	}
}

func TestWhatADeadReplicaHasLeftIsNotUsedAndRemoved(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	town.every = 50 * time.Millisecond
	p := town.plane("east")
	err := town.db.Write(t.Context(), func(tx storeTx) error { // it was killed: its rows stay
		if _, err := tx.Exec(`INSERT INTO relay_replicas (name, address, beat) VALUES ('dead', '127.0.0.1:1', 7)`); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO relay_planes (replica, org, plane, sessions) VALUES ('dead', ?, ?, 2)`, p.Org, p.Name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	a := town.open("a", relay.Limits{}, door.Limits{})
	if _, err := p.connect(a, p.host()); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("err %v", err)
	}
	eventually(t, "its rows are removed", func() bool { return town.rows("relay_replicas", "dead")+town.rows("relay_planes", "dead") == 0 })
}
