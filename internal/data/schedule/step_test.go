package schedule_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

func policy(t testing.TB, text string) schedule.Policy {
	t.Helper()
	p, err := schedule.ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStep(t *testing.T) {
	t.Parallel()
	const hourly, minutely = "0 * * * *", "* * * * *"
	for _, c := range []struct {
		cron, policy, cursor, now string // times of one day
		fires, settled, next      string
	}{
		{hourly, "", "10:00:00", "10:59:59", "", "10:00", "11:00"},
		{hourly, "", "10:00:00", "11:00:00", "11:00", "11:00", "12:00"},
		{hourly, "skip", "10:00:00", "11:00:59", "11:00", "11:00", "12:00"}, // late, but within the tolerance
		// A pause of three hours and a half.
		{hourly, "", "10:00:00", "13:30:00", "13:00", "13:00", "14:00"},
		{hourly, "one", "10:00:00", "13:30:00", "13:00", "13:00", "14:00"},
		{hourly, "skip", "10:00:00", "13:30:00", "", "13:00", "14:00"},
		{hourly, "all", "10:00:00", "13:30:00", "11:00 12:00 13:00", "13:00", "14:00"},
		{hourly, "all:2", "10:00:00", "13:30:00", "12:00 13:00", "13:00", "14:00"},
		// A pause that ends just when the next is due: that one makes up for the missed ones.
		{hourly, "one", "10:00:00", "13:00:10", "13:00", "13:00", "14:00"},
		{hourly, "skip", "10:00:00", "13:00:10", "13:00", "13:00", "14:00"},
		{hourly, "all:1", "10:00:00", "13:00:10", "12:00 13:00", "13:00", "14:00"},
		{minutely, "all:3", "10:00:00", "23:00:30", "22:57 22:58 22:59 23:00", "23:00", "23:01"},
		// A clock that was set back waits until it has caught up.
		{hourly, "all", "10:00:00", "07:30:00", "", "10:00", "11:00"},
		{hourly, "all", "10:00:00", "10:00:00", "", "10:00", "11:00"},
	} {
		day := func(clock string) time.Time { return at(t, "2026-05-04T"+clock+"Z") }
		due := schedule.Step(parse(t, cron(c.cron, "UTC"), "2026-01-01T00:00:00Z"), policy(t, c.policy), day(c.cursor), day(c.now))
		var fires []string
		for _, f := range due.Fires {
			fires = append(fires, f.Format("15:04"))
		}
		if got := strings.Join(fires, " "); got != c.fires || due.Settled.Format("15:04") != c.settled || due.Next.Format("15:04") != c.next {
			t.Errorf("%s, policy %q, settled %s, now %s: fires %q, settled %v, next %v; want %q, %s, %s", c.cron, c.policy, c.cursor, c.now, got, due.Settled, due.Next, c.fires, c.settled, c.next)
		}
	}
}

// A clock that once ran years ahead does not silence a trigger.
func TestStepDropsTheTraceOfAWrongClock(t *testing.T) {
	t.Parallel()
	s := parse(t, cron("0 * * * *", "UTC"), "2026-01-01T00:00:00Z")
	due := schedule.Step(s, policy(t, ""), at(t, "2040-01-01T00:00:00Z"), at(t, "2026-05-04T10:30:00Z"))
	if len(due.Fires) != 0 || !due.Next.Equal(at(t, "2026-05-04T11:00:00Z")) {
		t.Errorf("got %+v", due)
	}
}

// A year of a trigger that fires every minute costs no more than what is fired.
func TestStepAfterALongPauseIsCheap(t *testing.T) {
	t.Parallel()
	calls := &counted{Schedule: parse(t, cron("* * * * *", "UTC"), "2026-01-01T00:00:00Z")}
	due := schedule.Step(calls, policy(t, "all:10"), at(t, "2020-01-01T00:00:00Z"), at(t, "2026-01-01T00:00:30Z"))
	if len(due.Fires) != 11 || calls.n > 1000 {
		t.Errorf("%d fires, %d calls of Next", len(due.Fires), calls.n)
	}
}

type counted struct {
	schedule.Schedule
	n int
}

func (c *counted) Next(after time.Time) time.Time { c.n++; return c.Schedule.Next(after) }

// Whatever the clock does within a day, no time fires twice, and each fired time is one of the schedule that has come.
func TestNoTimeFiresTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		spec := rapid.SampledFrom([]*task.TriggerAutomationSpec{cron("*/7 * * * *", "Europe/Berlin"), cron("30 2 * * *", "America/New_York"), every(11, minutes, ""), every(3, hours, "2026-03-01T00:00:00Z")}).Draw(rt, "spec")
		s := parse(t, spec, "2026-03-07T00:00:00Z")
		p := policy(t, rapid.SampledFrom([]string{"skip", "one", "all", "all:3"}).Draw(rt, "policy"))
		now := at(t, "2026-03-07T00:00:00Z")
		cursor := now
		var fired []int64
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(2*time.Hour), int64(9*time.Hour)).Draw(rt, "passes")))
			due := schedule.Step(s, p, cursor, now)
			if cursor.After(now.Add(schedule.WrongClock)) {
				rt.Skip("beyond what the clock may do")
			}
			for _, f := range due.Fires {
				if f.After(now) || !f.After(cursor) || !s.Next(f.Add(-time.Nanosecond)).Equal(f) {
					rt.Fatalf("fired %v at %v, settled %v", f, now, cursor)
				}
				fired = append(fired, f.UnixNano())
			}
			if due.Settled.Before(cursor) || !due.Next.After(due.Settled) || !due.Next.After(now) {
				rt.Fatalf("settled %v, next %v at %v", due.Settled, due.Next, now)
			}
			cursor = due.Settled
		}
		if !slices.IsSorted(fired) || len(slices.Compact(slices.Clone(fired))) != len(fired) {
			rt.Fatalf("fired twice or out of order: %v", fired)
		}
	})
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"none", "all:", "all:0", "all:-1", "all:1001", "all:x", "One", "skip:1", strings.Repeat("x", 1<<16)} {
		if _, err := schedule.ParsePolicy(text); !fault.Is(err, fault.KindInvalid) || len(err.Error()) > 300 {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestRunNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	when := at(t, "2026-01-01T00:00:00Z")
	for _, trigger := range []names.Trigger{
		{Project: names.Project{Org: "o", Project: "p", Domain: "d"}, Task: "t", Name: "n"},
		{Project: names.Project{Org: "o", Project: "p", Domain: "d"}, Task: "t", Name: "n2"},
		{Project: names.Project{Org: "o", Project: "p", Domain: "d"}, Task: "t2", Name: "n"},
		{Project: names.Project{Org: "o", Project: "p", Domain: "e"}, Task: "t", Name: "n"},
	} {
		for i := range 3 {
			name := schedule.RunName(trigger, when.Add(time.Duration(i)*time.Minute))
			if err := names.CheckRun("run", name); err != nil || len(name) > 30 || seen[name] {
				t.Errorf("%s: %v", name, err)
			}
			seen[name] = true
			if again := schedule.RunName(trigger, when.Add(time.Duration(i)*time.Minute).In(time.FixedZone("x", 3600))); again != name {
				t.Errorf("the same time in another zone is %s, not %s", again, name)
			}
		}
	}
	// The name is a promise to planes of the past: it must never change.
	fixed := names.Trigger{Project: names.Project{Org: "local", Project: "flytesnacks", Domain: "development"}, Task: "hello.main", Name: "nightly"}
	if got := schedule.RunName(fixed, when); got != golden {
		t.Errorf("got %s, want %s", got, golden)
	}
}

const golden = "tobb5ba7cvcaiz7sobctlqiqv"
