package schedule

import (
	"strconv"
	"strings"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
)

// CatchUp is the annotation of a trigger that says what happens to fires missed while the plane was away: "skip" gives
// them up, "one" (what a trigger without the annotation does) makes up for all with the latest, "all" or "all:N" fires
// the latest N of them. The protocol has no field for it.
const CatchUp = "biplane.dev/catch-up"

// Limits of "all".
const (
	DefaultAll = 100
	MaxAll     = 1000
)

// Policy is how many missed fires are made up for.
type Policy struct {
	limit int  // at most so many
	whole bool // each for itself: one on time does not make up for them
}

// PolicyOf reads the policy of a trigger from its run's annotations.
func PolicyOf(spec *task.RunSpec) (Policy, error) {
	return ParsePolicy(spec.GetAnnotations().GetValues()[CatchUp])
}

// ParsePolicy reads the value of the annotation CatchUp; empty is the default.
func ParsePolicy(text string) (Policy, error) {
	mode, number, counted := strings.Cut(text, ":")
	switch {
	case text == "" || text == "one":
		return Policy{limit: 1}, nil
	case text == "skip":
		return Policy{}, nil
	case mode == "all" && !counted:
		return Policy{limit: DefaultAll, whole: true}, nil
	case mode == "all":
		if n, err := strconv.Atoi(number); err == nil && n >= 1 && n <= MaxAll {
			return Policy{limit: n, whole: true}, nil
		}
	}
	return Policy{}, fault.Invalid("run_spec.annotations["+CatchUp+"]", "%q is not skip, one, all or all:N with N from 1 to %d", clip(text), MaxAll)
}

func (p Policy) most() int { return p.limit }

// pick chooses among late fires, oldest first. onTime says that another fire is due and not late.
func (p Policy) pick(late []time.Time, onTime bool) []time.Time {
	n := p.limit
	if !p.whole && onTime {
		n = 0
	}
	return append([]time.Time(nil), late[max(0, len(late)-n):]...)
}
