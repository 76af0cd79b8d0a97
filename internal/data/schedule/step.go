package schedule

import (
	"slices"
	"time"
)

// Tolerance is how late a fire may be and still count as on time: no policy for missed fires touches it. A plane that
// restarts, or is busy, needs a moment.
const Tolerance = time.Minute

// WrongClock is how far ahead of the clock a settled time may be before it is taken as the trace of a clock that was
// wrong. Up to there a clock that was set back waits until it has caught up.
const WrongClock = 24 * time.Hour

// Due is what Step found.
type Due struct {
	// Fires are the times to fire now, oldest first.
	Fires []time.Time
	// Settled is the new cursor once all of them have fired: every time up to it has fired or was given up.
	Settled time.Time
	// Next is when to step again; zero for never.
	Next time.Time
}

// Step decides what is due at now for a trigger whose times up to cursor are settled. It is pure.
//
// Each time fires at most once as long as cursors are kept: a fired time is never after the cursor that comes with it,
// and never at or before the cursor that went in. The one exception is a cursor more than WrongClock ahead of now: it is
// dropped, or a clock that once ran years ahead would silence the trigger for years; what fired ahead then is kept from
// running twice by the name of its run.
func Step(s Schedule, p Policy, cursor, now time.Time) Due {
	if cursor.After(now.Add(WrongClock)) {
		cursor = now
	}
	recent := lastDue(s, cursor, now, int(Tolerance/time.Minute)+1+p.most())
	settled := cursor
	if n := len(recent); n > 0 {
		settled = recent[n-1]
	}
	split, _ := slices.BinarySearchFunc(recent, now.Add(-Tolerance), time.Time.Compare)
	fires := append(p.pick(recent[:split], len(recent) > split), recent[split:]...)
	return Due{Fires: fires, Settled: settled, Next: s.Next(settled)}
}

// lastDue is the last n times in (cursor, now], oldest first. A long pause of a frequent trigger has many more; looking
// back in growing windows keeps the work in proportion to n.
func lastDue(s Schedule, cursor, now time.Time, n int) []time.Time {
	for window := time.Minute; ; window *= 8 {
		from, whole := now.Add(-window), false
		if !from.After(cursor) || window > longestRate {
			from, whole = cursor, true
		}
		var times []time.Time
		for t := s.Next(from); !t.IsZero() && !t.After(now); t = s.Next(t) {
			if len(times) == 2*n {
				times = append(times[:0], times[n:]...)
			}
			times = append(times, t)
		}
		if len(times) >= n || whole {
			return times[max(0, len(times)-n):]
		}
	}
}
