package placement

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// world is a control plane and planes that reach it whenever they can. All know one run name.
type world struct {
	register Register
	clock    int64
	planes   map[string]*local
	given    map[int64]string // epochs that the control plane gave out, and to whom
	best     map[int64]int64  // the highest epoch of a run that was recorded since the register was lost, by its time of creation
}

// local is what a plane has of the name.
type local struct {
	claim   Claim
	past    []Claim // leases that it had before
	stopped bool
	orders  []any // a Stop or a Claim to take over, in order
}

// TestLeases lets planes create runs of one name, report, go silent, be fenced and come back; the control plane moves runs, and loses its
// register. Whatever happens, a lease is of one plane, epochs rise, and nothing is recorded under an old one.
func TestLeases(t *testing.T) {
	t.Parallel()
	moves, conflicts, refusals, losses := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := &world{planes: map[string]*local{}, given: map[int64]string{}, best: map[int64]int64{}}
		names := []string{"a", "b", "c"}
		things := map[string]func(){
			"create": func() {
				name := rapid.SampledFrom(names).Draw(t, "plane")
				if w.planes[name] != nil {
					return // it has the name
				}
				// Different runs, different times: 1 to 3, one for each plane.
				w.planes[name] = &local{claim: Claim{Epoch: 1, Created: int64(1 + (slices.Index(names, name)*2+1)%3), Plane: name}}
			},
			"report": func() {
				l := w.planes[rapid.SampledFrom(names).Draw(t, "plane")]
				if l == nil || l.claim.Epoch == 0 {
					return // nothing to report
				}
				l.claim.Ended = l.stopped
				if !w.report(t, l.claim) {
					refusals++
				}
			},
			"report of before": func() { // from a connection that was still open
				l := w.planes[rapid.SampledFrom(names).Draw(t, "plane")]
				if l == nil || len(l.past) == 0 {
					return // there was no before
				}
				w.report(t, rapid.SampledFrom(l.past).Draw(t, "past"))
			},
			"obey": func() {
				l := w.planes[rapid.SampledFrom(names).Draw(t, "plane")]
				if l == nil || len(l.orders) == 0 {
					return // nothing is ordered
				}
				l.obey(l.orders[0])
				l.orders = l.orders[1:]
			},
			"move": func() {
				from, ok := w.register.Holder()
				to := rapid.SampledFrom(names).Draw(t, "to")
				_, has := w.register.Of(to)
				if l := w.planes[to]; !ok || has || l != nil && l.claim.Created != from.Created { // a plane can have one run of a name
					return // nobody to move it to
				}
				w.clock += int64(rapid.IntRange(0, 5).Draw(t, "time"))
				w.grant(t, from, to)
				moves++
			},
			"lose the register": func() {
				if rapid.IntRange(0, 3).Draw(t, "luck") > 0 {
					return // it holds
				}
				w.clock += 100 // longer than any of its epochs were ahead of the clock
				w.register, w.best = nil, map[int64]int64{}
				losses++
			},
		}
		all := slices.Sorted(maps.Keys(things))
		for range 60 {
			things[rapid.SampledFrom(all).Draw(t, "thing")]()
			w.check(t)
		}
		for _, l := range w.planes {
			for _, order := range l.orders {
				if stop, ok := order.(Stop); ok && stop.Reason == NameConflict {
					conflicts++
				}
			}
		}
		w.settle(t)
	})
	if moves == 0 || conflicts == 0 || refusals == 0 || losses == 0 {
		t.Errorf("%d moves, %d conflicts, %d refusals, %d losses: a world in which nothing happens proves nothing", moves, conflicts, refusals, losses)
	}
}

func (l *local) obey(order any) {
	switch order := order.(type) {
	case Stop:
		l.stopped = l.stopped || l.claim.Epoch <= order.Epoch
	case Claim:
		if l.claim.Epoch > 0 {
			l.past = append(l.past, l.claim)
		}
		l.claim, l.stopped = order, false
	}
}

func (w *world) report(t *rapid.T, c Claim) (recorded bool) {
	before := w.best[c.Created]
	after, recorded, stops := w.register.Report(c)
	if recorded && c.Epoch < before {
		t.Fatalf("%+v was recorded after epoch %d", c, before)
	}
	if recorded {
		w.best[c.Created] = c.Epoch
	}
	told := false
	for _, stop := range stops {
		told = told || stop.Plane == c.Plane
		w.order(stop)
	}
	if holder, _ := after.Of(c.Plane); !recorded && !told && holder.Epoch <= c.Epoch {
		t.Fatalf("%+v was refused, and its plane is not told to stop", c)
	}
	w.register = after
	return recorded
}

func (w *world) grant(t *rapid.T, from Claim, to string) {
	after, lease, stops := w.register.Grant(from, to, w.clock)
	if other, used := w.given[lease.Epoch]; used {
		t.Fatalf("epoch %d was given to %s and to %s", lease.Epoch, other, to)
	}
	w.given[lease.Epoch] = to
	w.best[lease.Created] = lease.Epoch
	w.register = after
	for _, stop := range stops {
		w.order(stop)
	}
	if w.planes[to] == nil {
		w.planes[to] = &local{claim: Claim{Plane: to, Created: lease.Created}, stopped: true}
	}
	w.planes[to].orders = append(w.planes[to].orders, lease)
}

func (w *world) order(stop Stop) {
	if l := w.planes[stop.Plane]; l != nil {
		l.orders = append(l.orders, stop)
	}
}

// check: the register is in order, has one claim of each plane, and one for each run.
func (w *world) check(t *rapid.T) {
	planes, runs := map[string]bool{}, map[string]bool{}
	for i, c := range w.register {
		if i > 0 && !w.register[i-1].Beats(c) {
			t.Fatalf("%+v does not beat %+v", w.register[i-1], c)
		}
		run := fmt.Sprint(c.Created)
		if planes[c.Plane] || runs[run] {
			t.Fatalf("two claims of one plane or of one run: %+v", w.register)
		}
		planes[c.Plane], runs[run] = true, true
	}
}

// settle lets everybody report and obey until nothing changes: then one plane goes on with a run of the name.
func (w *world) settle(t *rapid.T) {
	for range 10 {
		for _, name := range []string{"c", "a", "b"} {
			l := w.planes[name]
			if l == nil {
				continue
			}
			for _, order := range l.orders {
				l.obey(order)
			}
			l.orders = nil
			if l.claim.Epoch > 0 {
				l.claim.Ended = l.stopped
				w.report(t, l.claim)
			}
		}
	}
	var going []string
	for name, l := range w.planes {
		if !l.stopped {
			going = append(going, name)
		}
	}
	if len(going) > 1 {
		t.Fatalf("%v all go on; register %+v", going, w.register)
	}
}

// TestRegisterDoesNotDependOnOrder: the same claims, however often and in whatever order they are reported, make the same lease.
func TestRegisterDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		claims := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Claim {
			return Claim{Epoch: rapid.Int64Range(1, 4).Draw(t, "epoch"), Created: rapid.Int64Range(1, 2).Draw(t, "created"), Plane: rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "plane")}
		}), 1, 4, func(c Claim) string { return c.Plane }).Draw(t, "claims")
		var one, other Register
		for _, c := range claims {
			one, _, _ = one.Report(c)
		}
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(claims)-1), 0, 8).Draw(t, "repeated") {
			other, _, _ = other.Report(claims[i])
		}
		for _, c := range rapid.Permutation(claims).Draw(t, "order") {
			other, _, _ = other.Report(c)
		}
		if !slices.Equal(one, other) {
			t.Fatalf("%+v and %+v", one, other)
		}
	})
}
