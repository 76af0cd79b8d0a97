package tunnel

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-yamux/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// budget bounds how far the receive windows of a session's streams may grow together. The first window of a stream is the
// protocol's promise and cannot be refused (the multiplexer would end the session); the limit on streams bounds those.
type budget struct {
	limit int64
	grown atomic.Int64
	gauge prometheus.Gauge
}

var errBudget = errors.New("tunnel: no memory for a larger window")

// certain is the priority with which the multiplexer asks for first windows.
const certain = 255

func (b *budget) span() (yamux.MemoryManager, error) { return &span{budget: b}, nil }

// span is what one stream holds.
type span struct {
	budget *budget
	mu     sync.Mutex
	first  int
	grown  int
	done   bool
}

func (s *span) ReserveMemory(size int, priority uint8) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.done:
		return errBudget // a closed stream that is still read from needs no window
	case priority == certain:
		s.first += size
	case s.budget.grown.Add(int64(size)) > s.budget.limit:
		s.budget.grown.Add(-int64(size))
		return errBudget
	default:
		s.grown += size
	}
	s.budget.gauge.Add(float64(size))
	return nil
}

// ReleaseMemory gives back what has grown. The multiplexer calls Done only.
func (s *span) ReleaseMemory(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size = min(size, s.grown)
	s.grown -= size
	s.budget.grown.Add(-int64(size))
	s.budget.gauge.Sub(float64(size))
}

// Done gives back everything. The multiplexer calls it twice for a stream that could not be started.
func (s *span) Done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return
	}
	s.done = true
	s.budget.grown.Add(-int64(s.grown))
	s.budget.gauge.Sub(float64(s.first + s.grown))
}
