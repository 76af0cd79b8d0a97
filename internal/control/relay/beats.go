package relay

import "time"

// beats tells which replicas live without comparing the clocks of two machines: a replica lives while its beat rises, and
// how long it has not risen is measured by the reader's own clock. It is pure: the caller says when it is.
type beats struct {
	life time.Duration
	seen map[string]sighting
}

type sighting struct {
	beat int64
	at   time.Time // when this beat was first seen
}

// note takes the beats of all replicas that there are.
func (b *beats) note(all map[string]int64, now time.Time) {
	seen := map[string]sighting{}
	for name, beat := range all {
		was, known := b.seen[name]
		if known && was.beat == beat {
			seen[name] = was
		} else {
			seen[name] = sighting{beat, now}
		}
	}
	b.seen = seen
}

// alive says whether a replica with this beat is to be tried. One that was not seen before is.
func (b *beats) alive(name string, beat int64, now time.Time) bool {
	was, known := b.seen[name]
	return !known || was.beat != beat || now.Sub(was.at) < b.life
}

// dead are the replicas that have been silent for so long that what they left may be removed.
func (b *beats) dead(now time.Time) map[string]int64 {
	dead := map[string]int64{}
	for name, was := range b.seen {
		if now.Sub(was.at) >= 4*b.life {
			dead[name] = was.beat
		}
	}
	return dead
}
