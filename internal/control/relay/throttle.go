package relay

import (
	"sync"
	"time"
)

// throttle makes the connections of a plane share so many bytes per second. Nil does not hold anybody up.
type throttle struct {
	rate float64 // bytes per second
	mu   sync.Mutex
	debt float64 // bytes that have passed and are not yet due
	at   time.Time
}

func newThrottle(bytesPerSecond int64) *throttle {
	if bytesPerSecond <= 0 {
		return nil
	}
	return &throttle{rate: float64(bytesPerSecond)}
}

// wait lets n bytes pass in their time; false when over was closed meanwhile.
func (t *throttle) wait(n int, over <-chan struct{}) bool {
	if t == nil {
		return true
	}
	pause := t.pass(n, time.Now())
	if pause <= 0 {
		return true
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-over:
		return false
	}
}

// pass notes n bytes and returns how long they have to wait: for those before them.
func (t *throttle) pass(n int, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if since := now.Sub(t.at); since > 0 {
		t.debt = max(0, t.debt-since.Seconds()*t.rate)
		t.at = now
	}
	pause := time.Duration(t.debt / t.rate * float64(time.Second))
	t.debt += float64(n)
	return pause
}
