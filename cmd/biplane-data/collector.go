package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// slack is how many bytes the heap may always grow by from one collection to the next.
const slack = 32 << 20

// paceCollector makes the collector run for every 32 MiB that are allocated while the heap is small, and when it is half as large again when
// not: a plane with little in memory would else collect all the time, and one that holds a million actions take twice their size. Who
// sets GOGC gets that.
func paceCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	p := &pace{sample: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	p.adapt()
	p.afterNext()
}

type pace struct {
	sample  []metrics.Sample
	percent int
}

// afterNext adapts the pace after each collection: one that finds a sentinel without an owner.
func (p *pace) afterNext() {
	type sentinel struct{ _ [16]byte }
	runtime.AddCleanup(&sentinel{}, func(p *pace) {
		p.adapt()
		p.afterNext()
	}, p)
}

// adapt sets the percentage, which stops the world for a moment, when it is off by more than a tenth.
func (p *pace) adapt() {
	metrics.Read(p.sample)
	if p.sample[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	want := percentFor(p.sample[0].Value.Uint64())
	if off := want - p.percent; off*10 > p.percent || -off*10 > p.percent {
		debug.SetGCPercent(want)
		p.percent = want
	}
}

// percentFor is GOGC for so many bytes in use: slack, at least half of them, at most eight times.
func percentFor(live uint64) int {
	return int(min(800, max(50, 100*slack/max(live, 1))))
}
