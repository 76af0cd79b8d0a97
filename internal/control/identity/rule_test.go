package identity

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func print(n byte) hash { return hash{n} }

func TestJudge(t *testing.T) {
	t.Parallel()
	shown := time.Unix(1, 0)
	waiting := register{place: place{7, 3}, current: print(3), previous: print(2)}
	shownOnce := waiting
	shownOnce.confirmed, shownOnce.previous = shown, hash{}
	gone := shownOnce
	gone.removed = true
	for name, c := range map[string]struct {
		register register
		at       place
		print    hash
		want     verdict
	}{
		"the newest, for the first time":              {waiting, place{7, 3}, print(3), first},
		"the one before, its answer may be lost":      {waiting, place{7, 2}, print(2), good},
		"the one before that":                         {waiting, place{7, 1}, print(1), copied},
		"the newest again":                            {shownOnce, place{7, 3}, print(3), good},
		"the one before, though the newest was shown": {shownOnce, place{7, 2}, print(2), copied},
		"another of the same step":                    {shownOnce, place{7, 3}, print(9), copied},
		"of an earlier enrolment":                     {shownOnce, place{6, 9}, print(9), outdated},
		"of a later step than the register knows":     {shownOnce, place{7, 4}, print(4), newer},
		"of a later enrolment than it knows":          {shownOnce, place{8, 0}, print(4), newer},
		"of a removed plane":                          {gone, place{7, 3}, print(3), removed},
		"of a removed plane, later than known":        {gone, place{8, 0}, print(4), removed},
		"of a plane that has never enrolled":          {register{}, place{0, 0}, print(4), copied},
	} {
		if got := c.register.judge(c.at, c.print); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	waiting := register{place: place{7, 3}, current: print(3), key: print(30), previous: print(2)}
	for name, c := range map[string]struct {
		print, key hash
		want       renewal
	}{
		"with the newest":                          {print(3), print(40), sign},
		"again with the one before, the same key":  {print(2), print(30), repeat},
		"again with the one before, a foreign key": {print(2), print(31), fork},
	} {
		if got := waiting.renew(c.print, c.key); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if got := (register{current: print(3)}).renew(print(3), print(4)); got != sign {
		t.Errorf("the first renewal: %d", got)
	}
}

func TestSerialNumbersHoldThePlace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := place{rapid.Uint32().Draw(t, "generation"), rapid.Uint32().Draw(t, "step")}
		random := [8]byte(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "random"))
		serial := want.serial(random)
		got, ok := placeOf(serial)
		if !ok || got != want || serial.Sign() <= 0 || len(serial.Bytes()) > 20 {
			t.Fatalf("serial %v: %v %v, want %v", serial, got, ok, want)
		}
	})
}

// TestOneHolderStays plays two places that have copies of one identity: whatever they do in whatever order, and whichever
// answers are lost, at most one of them can go on once both have renewed.
func TestOneHolderStays(t *testing.T) {
	t.Parallel()
	type holder struct {
		at          place
		print, next hash // next is the key that it asks with
	}
	rapid.Check(t, func(t *rapid.T) {
		serial := byte(1)
		fresh := func() hash { serial++; return hash{serial} }
		start := hash{1}
		r := register{place: place{1, 0}, current: start, confirmed: time.Unix(1, 0)}
		holders := []*holder{{r.place, start, fresh()}, {r.place, start, fresh()}}
		show := func(h *holder) bool {
			switch r.judge(h.at, h.print) {
			case good:
			case first:
				r.confirmed, r.previous = time.Unix(1, 0), hash{}
			default:
				return false
			}
			return true
		}
		renewed := [2]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "who")
			h := holders[i]
			if !show(h) || rapid.Bool().Draw(t, "only shown") {
				continue
			}
			switch r.renew(h.print, h.next) {
			case sign:
				r = register{place: place{1, r.step + 1}, current: fresh(), key: h.next, previous: r.current}
			case fork:
				continue
			}
			if rapid.Bool().Draw(t, "the answer is lost") {
				continue
			}
			renewed[i] = true
			h.at, h.print, h.next = r.place, r.current, fresh()
		}
		// Each shows what it has, twice: the second time nothing is in the balance any more.
		good := 0
		for range 2 {
			good = 0
			for _, h := range holders {
				if show(h) {
					good++
				}
			}
		}
		if renewed[0] || renewed[1] {
			if good != 1 {
				t.Fatalf("%d places have a good certificate; register %+v, places %+v %+v", good, r, holders[0], holders[1])
			}
		}
	})
}
