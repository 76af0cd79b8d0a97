package shell

import "hash/maphash"

// The filter takes 1 MiB; with as many names as it may hold one question of 200 is asked needlessly.
const (
	finishedBits   = 1 << 23
	finishedNames  = 700_000
	finishedProbes = 5
)

// finished knows the names of finished actions well enough to say of almost every new one that the journal cannot hold it: a Bloom filter
// of what has been committed, true for the runs that began with it or later. It may say "perhaps" of a name that never was, and
// then the journal is asked; it never says "no" of one that is there. When it is full an empty one begins, for the runs to come.
type finished struct {
	since int64 // the first run id for which it is true
	names int
	seed  maphash.Seed
	bits  []uint64
}

func newFinished(since int64) *finished {
	return &finished{since: since, seed: maphash.MakeSeed(), bits: make([]uint64, finishedBits/64)}
}

type finishedName struct {
	run    int64
	action string
}

func (f *finished) add(run int64, action string) {
	if run < f.since {
		return
	}
	f.names++
	at, step := f.place(run, action)
	for range finishedProbes {
		f.bits[at/64%uint32(len(f.bits))] |= 1 << (at % 64)
		at += step
	}
}

func (f *finished) full() bool { return f.names >= finishedNames }

// perhaps says that the journal may hold a finished action of this name.
func (f *finished) perhaps(run int64, action string) bool {
	if run < f.since {
		return true
	}
	at, step := f.place(run, action)
	for range finishedProbes {
		if f.bits[at/64%uint32(len(f.bits))]&(1<<(at%64)) == 0 {
			return false
		}
		at += step
	}
	return true
}

func (f *finished) place(run int64, action string) (at, step uint32) {
	hash := maphash.Comparable(f.seed, finishedName{run, action})
	return uint32(hash), uint32(hash>>32) | 1
}
