package ledger

import (
	"fmt"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/placement"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// Stop is an order that the ledger found to be due: a plane must not go on with a run.
type Stop struct {
	Plane  link.Plane
	Run    *linkv1.RunID
	Epoch  int64
	Reason placement.Reason
	Holder string
}

// standing is where a plane stands with a run name, for the length of a batch.
type standing struct {
	rows     map[string]int64 // the ledger's numbers of the runs with this name, by plane
	register placement.Register
	claim    placement.Claim // that was judged last
	judged   bool
	recorded bool
}

// lease judges what the plane says about a run, and returns the ledger's number of it and the epoch to record. 0 means that the plane's lease
// is over and nothing is to be recorded. An action may come before its run, so the row is made when the name is first seen.
func (b *Batch) lease(id *linkv1.RunID, epoch, created int64, ended bool) (number, recordAs int64, err error) {
	key := runKey{id.GetProject(), id.GetDomain(), id.GetName()}
	s, err := b.standing(key)
	if err != nil {
		return 0, 0, fmt.Errorf("run %s: %w", key.name, err)
	}
	own, known := s.register.Of(b.plane.Name)
	claim := placement.Claim{Epoch: max(1, epoch), Created: created, Plane: b.plane.Name, Ended: ended || known && own.Ended}
	if epoch > 0 { // else the plane knows of no leases: all that it tells of is its own
		if !s.judged || claim != s.claim {
			if err := b.judge(key, s, claim); err != nil {
				return 0, 0, fmt.Errorf("run %s: %w", key.name, err)
			}
		}
		if !s.recorded {
			return 0, 0, nil
		}
	}
	number, known = s.rows[b.plane.Name]
	if !known {
		number = b.tx.NextSeq()
		s.rows[b.plane.Name] = number
		_, err = b.tx.Exec(`INSERT INTO runs (id, org, plane, project, domain, name, timeline, seq, epoch, created_us) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
			number, b.plane.Org, b.plane.Name, key.project, key.domain, key.name, b.timeline, claim.Epoch, claim.Created)
	}
	return number, claim.Epoch, err
}

// judge asks the register about a claim, and forgets the rows of planes whose lease on the run is over.
func (b *Batch) judge(key runKey, s *standing, claim placement.Claim) error {
	after, recorded, stops := s.register.Report(claim)
	s.register, s.recorded, s.claim, s.judged = after, recorded, claim, true
	return b.due(key, s, stops)
}

// due notes stops. What a plane told under a lease that is over is forgotten.
func (b *Batch) due(key runKey, s *standing, stops []placement.Stop) error {
	for _, stop := range stops {
		b.stops = append(b.stops, Stop{
			Plane: link.Plane{Org: b.plane.Org, Name: stop.Plane}, Epoch: stop.Epoch, Reason: stop.Reason, Holder: stop.Holder,
			Run: &linkv1.RunID{Org: b.plane.Org, Project: key.project, Domain: key.domain, Name: key.name},
		})
		if number, known := s.rows[stop.Plane]; known && stop.Reason == placement.Moved {
			delete(s.rows, stop.Plane)
			if err := forget(b.tx, number); err != nil {
				return err
			}
		}
	}
	return nil
}

func forget(tx store.WriteTx, run int64) error {
	for _, statement := range []string{`DELETE FROM attempts WHERE run = ?`, `DELETE FROM actions WHERE run = ?`, `DELETE FROM runs WHERE id = ?`} {
		if _, err := tx.Exec(statement, run); err != nil {
			return err
		}
	}
	return nil
}

// Move gives a run of the batch's plane that has not ended to another plane, with all that is recorded of it, and returns the epoch of the new
// lease. It is 0 when there is nothing to move: the plane does not have the run any more, it has ended, or the other plane has a run of
// the same name. now is in microseconds since 1970 UTC.
func (b *Batch) Move(id *linkv1.RunID, to string, now int64) (epoch int64, err error) {
	key := runKey{id.GetProject(), id.GetDomain(), id.GetName()}
	s, err := b.standing(key)
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", key.name, err)
	}
	from, has := s.register.Of(b.plane.Name)
	if _, taken := s.register.Of(to); !has || from.Ended || taken {
		return 0, nil
	}
	after, lease, stops := s.register.Grant(from, to, now)
	// Whatever the new plane tells of the run counts for more than what the old one told.
	number := s.rows[b.plane.Name]
	if _, err := b.tx.Exec(`UPDATE runs SET plane = ?, epoch = ?, timeline = -1 WHERE id = ?`, to, lease.Epoch, number); err != nil {
		return 0, err
	}
	delete(s.rows, b.plane.Name)
	s.rows[to], s.register, s.judged = number, after, false
	return lease.Epoch, b.due(key, s, stops)
}

// standing reads the register of a name.
func (b *Batch) standing(key runKey) (*standing, error) {
	if s := b.runs[key]; s != nil {
		return s, nil
	}
	rows, err := b.tx.Query(`SELECT id, plane, epoch, created_us, phase FROM runs WHERE org = ? AND name = ? AND project = ? AND domain = ?`,
		b.plane.Org, key.name, key.project, key.domain)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	s := &standing{rows: map[string]int64{}}
	var claims []placement.Claim
	for rows.Next() {
		var number int64
		var phase linkv1.Phase
		var claim placement.Claim
		if err := rows.Scan(&number, &claim.Plane, &claim.Epoch, &claim.Created, &phase); err != nil {
			return nil, err
		}
		claim.Ended = Ended(phase)
		s.rows[claim.Plane] = number
		claims = append(claims, claim)
	}
	s.register = placement.NewRegister(claims...)
	b.runs[key] = s
	return s, rows.Err()
}

// OrderStops calls order for each stop that is due and was not ordered before, and remembers those for which it says true, when the
// transaction commits. It returns these.
func (b *Batch) OrderStops(order func(Stop) (bool, error)) (ordered []Stop, err error) {
	for _, stop := range b.stops {
		key := []any{stop.Plane.Org, stop.Plane.Name, stop.Run.GetProject(), stop.Run.GetDomain(), stop.Run.GetName(), stop.Epoch, stop.Reason}
		var before bool
		err := b.tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM stops WHERE org = ? AND plane = ? AND project = ? AND domain = ? AND run = ? AND epoch = ? AND reason = ?)`, key...).Scan(&before)
		if err == nil && !before {
			var done bool
			if done, err = order(stop); err == nil && done {
				ordered = append(ordered, stop)
				_, err = b.tx.Exec(`INSERT INTO stops (org, plane, project, domain, run, epoch, reason) VALUES (?, ?, ?, ?, ?, ?, ?)`, key...)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("stop run %s: %w", stop.Run.GetName(), err)
		}
	}
	b.stops = nil
	return ordered, nil
}

// ForgetStops says that a plane does not remember, or never got, the stops that were ordered: its history was replaced, or it was removed.
func ForgetStops(tx store.WriteTx, plane link.Plane) error {
	_, err := tx.Exec(`DELETE FROM stops WHERE org = ? AND plane = ?`, plane.Org, plane.Name)
	return err
}
