package placement

import (
	"cmp"
	"slices"
)

// Claim is what a plane says of a run name: under which lease it has a run of it.
type Claim struct {
	Epoch   int64 // the number of the lease, from 1: born at the plane
	Created int64 // when the run was created, in microseconds since 1970 UTC by the clock of its first plane
	Plane   string
	Ended   bool // nothing of the run goes on
}

// compare orders claims, the best first.
func compare(a, b Claim) int {
	return cmp.Or(cmp.Compare(b.Epoch, a.Epoch), cmp.Compare(a.Created, b.Created), cmp.Compare(a.Plane, b.Plane))
}

// Beats says whether c is the lease and d is not. Of two different claims exactly one beats the other.
func (c Claim) Beats(d Claim) bool { return compare(c, d) < 0 }

// Reason says why a plane must stop.
type Reason uint8

// The reasons.
const (
	Moved        Reason = 1 // another plane has a newer lease
	NameConflict Reason = 2 // another plane has an earlier run of the same name
)

func (r Reason) String() string { return [...]string{"", "MOVED", "NAME_CONFLICT"}[r] }

// Stop is an order to a plane: its leases on the run up to Epoch are over.
type Stop struct {
	Plane  string
	Epoch  int64
	Reason Reason
	Holder string // who has the run, or the name
}

// Register holds what planes claim of one run name, at most one claim of each plane, the best first. The zero Register is of a name that
// nobody has claimed.
//
// Claims with one time of creation are of one run, which has moved: only the newest counts. Others are of different runs, which
// planes made under one name while they could not know of each other.
type Register []Claim

// NewRegister makes a register of claims that were recorded, in any order.
func NewRegister(claims ...Claim) Register {
	r := slices.Clone(claims)
	slices.SortFunc(r, compare)
	return r
}

// Holder is the lease; false when there is none.
func (r Register) Holder() (Claim, bool) {
	if len(r) == 0 {
		return Claim{}, false
	}
	return r[0], true
}

// Of is the plane's own claim; false when it has none.
func (r Register) Of(plane string) (Claim, bool) {
	for _, c := range r {
		if c.Plane == plane {
			return c, true
		}
	}
	return Claim{}, false
}

// Report is what it means that a plane tells of a run under a claim. When it is not recorded the plane's lease is older than another one on
// the same run, and what it tells is nobody's result. Stops are for everybody who must not go on, told before or not; a plane with a
// stop for Moved has no claim in the register any more.
func (r Register) Report(c Claim) (after Register, recorded bool, stops []Stop) {
	after = make(Register, 0, len(r)+1)
	for _, other := range r {
		switch {
		case other.Plane == c.Plane && other.Epoch > c.Epoch:
			return r, false, nil // sent before the plane heard of its newer lease
		case other.Plane == c.Plane:
		case other.Created == c.Created && other.Epoch > c.Epoch:
			return r.without(c.Plane), false, []Stop{{Plane: c.Plane, Epoch: c.Epoch, Reason: Moved, Holder: other.Plane}}
		case other.Created == c.Created && other.Epoch < c.Epoch:
			stops = append(stops, Stop{Plane: other.Plane, Epoch: other.Epoch, Reason: Moved, Holder: c.Plane})
		default:
			after = append(after, other)
		}
	}
	after = append(after, c)
	slices.SortFunc(after, compare)
	return after, true, append(stops, after.conflicts()...)
}

// conflicts are stops for the runs that must give way to the one that holds the name.
func (r Register) conflicts() (stops []Stop) {
	for _, beaten := range r[1:] {
		if !beaten.Ended {
			stops = append(stops, Stop{Plane: beaten.Plane, Epoch: beaten.Epoch, Reason: NameConflict, Holder: r[0].Plane})
		}
	}
	return stops
}

func (r Register) without(plane string) Register {
	return slices.DeleteFunc(slices.Clone(r), func(c Claim) bool { return c.Plane == plane })
}

// Grant gives the run of one claim to another plane, under an epoch that nobody has seen: the time, in microseconds since 1970 UTC, or one
// more than the highest in the register. A control plane that was put back, or has lost its register, has the time to tell its epochs
// from those that it gave out before. The plane that had the run must stop.
func (r Register) Grant(from Claim, to string, now int64) (after Register, lease Claim, stops []Stop) {
	lease = Claim{Epoch: max(now, r.epoch()+1), Created: from.Created, Plane: to}
	after, _, stops = r.Report(lease)
	return after, lease, stops
}

// epoch is the highest that was ever given out of those known.
func (r Register) epoch() int64 {
	holder, _ := r.Holder()
	return holder.Epoch
}
