package journal

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/names"
)

// newChild is an action that has no row yet.
func newChild(t *testing.T, state *engine.State, n int) *engine.Action {
	t.Helper()
	name := fmt.Sprintf("c%d", n)
	state.Step(2_000_000, engine.Enqueue{Run: runName("r1"), Spec: engine.ActionSpec{Name: name, Parent: names.Root, Kind: engine.KindTask, Task: leaf, OutputBase: "base"}})
	out := state.Take()
	for _, a := range out.Actions {
		if a.Name == name {
			return a
		}
	}
	t.Fatal("the engine made no action")
	return nil
}

// Followers, fast and slow ones, that come and go, end up with the last state of every child, in rising order, whether they read it
// from memory or from the rows; and nothing stays in memory that all of them have read.
func TestFollowersSeeTheLastStates(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			j := open(t)
			state, out := create(7, &engine.Run{Name: runName("r1"), Digest: "x"})
			commit(t, j, out)
			var children []*engine.Action
			type watcher struct {
				*Follower
				last int64
				seen map[string]engine.Phase
			}
			var watchers []*watcher
			read := func(w *watcher, all bool) {
				limit := 1 + random.IntN(5)
				for {
					changes, err := w.Next(t.Context(), limit)
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range changes {
						if c.Seq <= w.last {
							t.Fatalf("change %d after %d", c.Seq, w.last)
						}
						w.last, w.seen[c.Name] = c.Seq, c.Phase
					}
					if len(changes) < limit || !all {
						return
					}
				}
			}
			for range 300 {
				switch {
				case len(watchers) < 3 && random.IntN(20) == 0:
					watchers = append(watchers, &watcher{Follower: j.Follow(7, names.Root), seen: map[string]engine.Phase{}})
				case len(watchers) > 0 && random.IntN(60) == 0:
					watchers[0].Leave()
					watchers = watchers[1:]
				}
				var change engine.Output
				for range 1 + random.IntN(4) {
					if len(children) == 0 || random.IntN(3) > 0 {
						child := newChild(t, state, len(children))
						children = append(children, child)
						change.Actions = append(change.Actions, child)
					}
				}
				if known := len(children) - len(change.Actions); known > 0 {
					child := children[random.IntN(known)]
					child.Phase++
					change.Actions = append(change.Actions, child)
					if random.IntN(10) == 0 {
						change.Touched = append(change.Touched, engine.Touched{RunID: 7, Action: children[random.IntN(known)].Name})
					}
				}
				commit(t, j, change)
				for _, w := range watchers {
					for _, touched := range change.Touched { // its state is told once more
						delete(w.seen, touched.Action)
						read(w, true)
						if _, told := w.seen[touched.Action]; !told {
							t.Fatalf("%s was not told again", touched.Action)
						}
					}
					if random.IntN(3) > 0 {
						read(w, random.IntN(2) == 0)
					}
				}
			}
			for _, w := range watchers {
				read(w, true)
				if len(w.seen) != len(children) {
					t.Fatalf("saw %d of %d children", len(w.seen), len(children))
				}
				for _, child := range children {
					if w.seen[child.Name] != child.Phase {
						t.Fatalf("%s: saw phase %d, it is %d", child.Name, w.seen[child.Name], child.Phase)
					}
				}
			}
			for _, w := range watchers {
				read(w, true)
				if n := len(w.feed.changes); w == watchers[len(watchers)-1] && n != 0 {
					t.Fatalf("%d changes stay in memory after all have read them", n)
				}
			}
			for _, w := range watchers {
				w.Leave()
			}
			if len(j.hub.feeds) != 0 || j.Watchers() != 0 {
				t.Fatal("a feed outlives its followers")
			}
		})
	}
}

// One that does not read costs a bounded amount of memory, and loses nothing.
func TestASlowFollower(t *testing.T) {
	t.Parallel()
	j := open(t)
	state, out := create(7, &engine.Run{Name: runName("r1"), Digest: "x"})
	commit(t, j, out)
	f := j.Follow(7, names.Root)
	defer f.Leave()
	const n = 3 * maxFeed
	for i := range n / 512 {
		var change engine.Output
		for k := range 512 {
			change.Actions = append(change.Actions, newChild(t, state, i*512+k))
		}
		commit(t, j, change)
		if len(f.feed.changes) > maxFeed {
			t.Fatalf("%d changes are kept", len(f.feed.changes))
		}
	}
	seen := 0
	for {
		changes, err := f.Next(t.Context(), 500)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(changes)
		if len(changes) < 500 {
			break
		}
	}
	if seen != n {
		t.Fatalf("saw %d of %d", seen, n)
	}
}
