package link_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/linktest"
)

// slow is a control plane whose disk stands still until the gate is opened.
type slow struct {
	quiet
	gate chan struct{}

	mu      sync.Mutex
	batches int
	events  int
	last    map[string]linkv1.Phase
	through int64
}

func (s *slow) Apply(ctx context.Context, _ link.Plane, events *linkv1.Events) (int64, error) {
	s.mu.Lock()
	s.batches++
	s.mu.Unlock()
	select {
	case <-s.gate:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, event := range events.GetEvents() {
		s.events++
		s.last[event.GetRun().GetId().GetName()] = event.GetRun().GetPhase()
	}
	s.through = events.GetThrough()
	return s.through, nil
}

func (s *slow) state() (batches, events int, last linkv1.Phase, through int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.batches, s.events, s.last["busy"], s.through
}

func TestWhatNobodyHasSeenIsSentOnceAndTheWindowIsBounded(t *testing.T) {
	t.Parallel()
	control := &slow{gate: make(chan struct{}), last: map[string]linkv1.Phase{}}
	// A heartbeat so long that the standstill is no silence.
	s := newSiteFor(t, control, 5*time.Second)
	source := linktest.Open(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		link.Run(ctx, link.Config{Address: s.address, TLS: clientTLS(t, s.planeFiles("here")), Source: source, Sink: source.Sink(), Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() { cancel(); <-done })
	source.Put(linktest.Run("first", linkv1.Phase_PHASE_QUEUED))
	linktest.Eventually(t, "the first batch is being stored", func() bool { batches, _, _, _ := control.state(); return batches == 1 })
	const changes = 300
	for i := range changes { // none of these waits for the control plane
		source.Put(linktest.Run("busy", linkv1.Phase(1+i%9)))
	}
	if batches, _, _, _ := control.state(); batches != 1 {
		t.Errorf("%d batches are being stored at once", batches)
	}
	close(control.gate)
	linktest.Eventually(t, "everything is stored", func() bool { _, _, _, through := control.state(); return through == source.Head() })
	_, events, last, _ := control.state()
	if last != linkv1.Phase(1+(changes-1)%9) {
		t.Errorf("the last state is %v", last)
	}
	// The first run, the state of the busy one that was on the way, and its newest.
	if events > 5 {
		t.Errorf("%d events were sent for two rows", events)
	}
}

func TestMergeKeepsTheOrderAndTheLimit(t *testing.T) {
	t.Parallel()
	table := func(numbers ...int64) (events []*linkv1.Event) {
		for _, n := range numbers {
			events = append(events, &linkv1.Event{Seq: n})
		}
		return events
	}
	var got []int64
	for _, event := range link.Merge(4, table(1, 5, 6), nil, table(2, 3, 9)) {
		got = append(got, event.GetSeq())
	}
	if fmt.Sprint(got) != "[1 2 3 5]" {
		t.Errorf("got %v", got)
	}
}
