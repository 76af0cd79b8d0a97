package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercentFor(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 800, 1 << 20: 800, 16 << 20: 200, 64 << 20: 50, 1 << 30: 50} {
		if got := percentFor(live); got != want {
			t.Errorf("%d bytes in use: %d %%, want %d", live, got, want)
		}
	}
}

// TestPaceFollowsTheHeap: the pace changes with what a collection finds, again and again.
func TestPaceFollowsTheHeap(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Fatal("run without GOGC: it turns off what is tested")
	}
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	paceCollector()
	percent := func() int {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return int(sample[0].Value.Uint64())
	}
	becomes := func(what string, ok func(int) bool) {
		t.Helper()
		for late := time.Now().Add(20 * time.Second); !ok(percent()); runtime.GC() {
			if time.Now().After(late) {
				t.Fatalf("%s: %d %%", what, percent())
			}
		}
	}
	becomes("a small heap", func(p int) bool { return p > 100 })
	large := make([]byte, 256<<20)
	becomes("a large heap", func(p int) bool { return p == 50 })
	runtime.KeepAlive(large)
	becomes("small again", func(p int) bool { return p > 100 })
}
