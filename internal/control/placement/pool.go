package placement

import (
	"cmp"
	"slices"
	"time"
)

// Plane is what placement knows of a data plane.
type Plane struct {
	Name      string
	Pool      string
	Labels    map[string]string
	Bucket    string // the identity of its bucket: planes with the same one can go on with each other's runs; empty is nobody's
	CPUMillis int64  // what it may give to attempts, in thousandths of a core and bytes; and what it has given
	Memory    int64
	CPUUsed   int64
	MemUsed   int64
	Queued    int64 // actions that wait there
	Reporting bool
	Heard     time.Time // when it last reported
	Draining  bool
}

// Lost says whether the plane has been silent for longer than grace: its leases are over.
func (p Plane) Lost(now time.Time, grace time.Duration) bool {
	return !p.Reporting && now.Sub(p.Heard) > grace
}

// Need is what a run asks of a plane. Zero fields ask for nothing.
type Need struct {
	Pool      string
	Labels    map[string]string
	Bucket    string // only planes with this bucket
	CPUMillis int64  // of its largest task
	Memory    int64
}

// Refusal is the dominant reason why a plane cannot take a run.
type Refusal uint8

// The refusals, from the one that is found out first.
const (
	Fits         Refusal = iota
	OtherPool            // it is of another pool
	OtherBucket          // it does not share the bucket
	NoLabel              // it lacks a label
	TooSmall             // it can never hold the largest task
	NotReporting         // nobody knows how it is
	IsDraining           // it accepts no new runs
)

func (r Refusal) String() string {
	return [...]string{"fits", "of another pool", "does not share the bucket", "lacks a label", "too small", "not reporting", "draining"}[r]
}

// Refuses says why the plane cannot take a run; Fits when it can.
func (n Need) Refuses(p Plane) Refusal {
	switch {
	case n.Pool != "" && p.Pool != n.Pool:
		return OtherPool
	case n.Bucket != "" && p.Bucket != n.Bucket:
		return OtherBucket
	case !labelled(p.Labels, n.Labels):
		return NoLabel
	case p.CPUMillis < n.CPUMillis || p.Memory < n.Memory:
		return TooSmall
	case !p.Reporting:
		return NotReporting
	case p.Draining:
		return IsDraining
	default:
		return Fits
	}
}

func labelled(has, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := has[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// Choose returns the plane with the most room among those that fit; false when none does. Equal planes are chosen by name, so
// that the answer depends on nothing else.
func Choose(planes []Plane, need Need) (Plane, bool) {
	var fit []Plane
	for _, p := range planes {
		if need.Refuses(p) == Fits {
			fit = append(fit, p)
		}
	}
	if len(fit) == 0 {
		return Plane{}, false
	}
	return slices.MinFunc(fit, func(a, b Plane) int {
		return cmp.Or(cmp.Compare(a.load(), b.load()), cmp.Compare(a.Queued, b.Queued), cmp.Compare(a.Name, b.Name))
	}), true
}

// load is how full the plane is, in thousandths of what it has most taken of.
func (p Plane) load() int64 { return max(part(p.CPUUsed, p.CPUMillis), part(p.MemUsed, p.Memory)) }

func part(used, whole int64) int64 {
	if whole <= 0 {
		return 1000
	}
	return int64(float64(used) / float64(whole) * 1000)
}

// Successor is the plane that may go on with the runs of one that is lost: of the same pool, with the same bucket. False when it is not
// lost, or nobody may.
func Successor(lost Plane, planes []Plane, now time.Time, grace time.Duration) (Plane, bool) {
	if !lost.Lost(now, grace) || lost.Bucket == "" {
		return Plane{}, false
	}
	return Choose(planes, Need{Pool: lost.Pool, Bucket: lost.Bucket})
}
