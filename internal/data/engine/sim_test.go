package engine

import (
	"flag"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

var (
	simSeeds = flag.Int("sim.seeds", 300, "how many seeds TestSimulation runs")
	simSeed  = flag.Uint64("sim.seed", 1, "the first of them")
)

// TestSimulation drives the engine through a world that is as unkind as chance makes it: attempts fail, hang, are lost and come back; requests
// are repeated and come too late; commits fail; the plane crashes at any commit. After every step the invariants hold, and when the
// world calms down every run ends and nothing is left in memory.
//
// A failing seed is run again with -run TestSimulation -sim.seed=N -sim.seeds=1.
func TestSimulation(t *testing.T) {
	t.Parallel()
	var sum simStats
	for i := range *simSeeds {
		seed := *simSeed + uint64(i)
		random := rand.New(rand.NewPCG(seed, 7))
		s := newSim(seed, random.IntN)
		s.run(400)
		if len(s.problems) > 0 {
			t.Fatalf("seed %d: %s", seed, s.problems[0])
		}
		sum.add(s.stats)
	}
	t.Logf("%+v", sum)
	// A simulation that never gets there proves nothing.
	if *simSeeds >= 100 {
		for what, n := range map[string]int{
			"crashes": sum.crashes, "failed commits": sum.failed, "aborts": sum.aborts, "lost attempts": sum.lost, "signals": sum.signals,
			"retries": sum.retries, "hits": sum.hits, "recovered": sum.recovered, "timed out": sum.timedOut, "reservations": sum.reserved, "doomed": sum.doomed,
		} {
			if n < *simSeeds/10 {
				t.Errorf("only %d %s in %d seeds", n, what, *simSeeds)
			}
		}
	}
}

// TestSimulationShrinks is the same with choices made by rapid, which looks for the shortest course of things that breaks an invariant.
func TestSimulationShrinks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64Range(0, 50).Draw(t, "seed")
		choice := rapid.IntRange(0, 1<<16)
		s := newSim(seed, func(n int) int { return choice.Draw(t, "choice") % n })
		s.run(60)
		if len(s.problems) > 0 {
			t.Fatal(s.problems[0])
		}
	})
}

type simStats struct {
	steps, commits, crashes, failed, aborts, lost, signals, retries, hits, recovered, timedOut, reserved, doomed, actions int
}

func (s *simStats) add(o simStats) {
	s.steps += o.steps
	s.commits += o.commits
	s.crashes += o.crashes
	s.failed += o.failed
	s.aborts += o.aborts
	s.lost += o.lost
	s.signals += o.signals
	s.retries += o.retries
	s.hits += o.hits
	s.recovered += o.recovered
	s.timedOut += o.timedOut
	s.reserved += o.reserved
	s.doomed += o.doomed
	s.actions += o.actions
}

// run makes steps of chance, then lets the world answer until every run has ended.
func (s *sim) run(steps int) {
	for range steps {
		if len(s.problems) > 0 {
			return
		}
		s.stats.steps++
		s.chance()
		if s.pick(3) == 0 {
			s.commit()
		}
	}
	s.calm()
	if len(s.problems) > 0 {
		return
	}
	if l := s.state.Load(); l != (Load{}) || len(s.state.timers)+len(s.state.reservations)+len(s.state.readyRuns) != 0 {
		s.problem("after the end the state holds %+v, %d timers, %d reservations", l, len(s.state.timers), len(s.state.reservations))
	}
	if len(s.attempts)+len(s.builtins) != 0 {
		s.problem("after the end %d attempts and %d built-ins are left outside", len(s.attempts), len(s.builtins))
	}
	for _, r := range s.book.runs {
		for _, row := range r.rows {
			s.stats.actions++
			s.stats.retries += int(row.Attempt) - 1
			switch {
			case !row.Phase.Terminal():
				s.problem("%s never ended", row.Name)
			case row.CacheStatus == CacheHit:
				s.stats.hits++
			case row.Phase == PhaseRecovered:
				s.stats.recovered++
			case row.Phase == PhaseTimedOut:
				s.stats.timedOut++
			}
		}
	}
}
