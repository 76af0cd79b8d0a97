package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"biplane.dev/biplane/internal/link/pace"
)

// KeepConfig is what a plane needs for its sessions.
type KeepConfig struct {
	// Count is how many sessions to hold, to different replicas of the relay where there are so many. 0 means 2.
	Count int
	// Where is asked before every try for host:port of the control plane and for the plane's TLS configuration (certificate and
	// trusted authorities; protocols are set here): both may have changed.
	Where func() (address string, config *tls.Config, err error)
	// Dial makes connections, such as through a proxy. nil means directly.
	Dial DialFunc
	// Listener serves every session that is up. It stays open when Keep returns.
	Listener *Listener
	// Options of the sessions. Metrics count the tries too.
	Options Options
	Log     *slog.Logger
	// Status is told of every change, one at a time and in order. It must return soon, and may be nil.
	Status func(Status)

	// Between tries: full jitter below FirstWait, doubling up to MaxWait. 0 means 100 ms and 15 s.
	FirstWait, MaxWait time.Duration
	// TryTimeout is how long one try may take. 0 means 30 s.
	TryTimeout time.Duration
	// Goodbye is how long open flows may go on when ctx is done. 0 means 5 s.
	Goodbye time.Duration
}

// Status is how the sessions of a plane are.
type Status struct {
	Want     int
	Sessions []SessionStatus // those that are up
	// Down is since when no session has been up; zero while one is. A liveness probe fails when that is long ago.
	Down time.Time
	// Err is why the last try failed, or why the last session ended; nil while all are up.
	Err error
}

// SessionStatus is one session that is up.
type SessionStatus struct {
	Relay     string // which replica, when it said so
	Transport string // tls or websocket
	Since     time.Time
}

const (
	duplicateTries = 3               // until a second session to the same replica is accepted
	retireTime     = 5 * time.Minute // flows of a session that has a successor may go on so long
	hungTries      = 4               // for each session: tries that do not end, although they should have, before no more are begun
	hungGrace      = 5 * time.Second // from when a try should have ended until it counts as hung
	watchEvery     = 3               // times KeepAlive: the supervisor asks by itself whether the session is alive
)

// Keep holds Count sessions up until ctx is done. Each has one loop that never waits for anything without a limit, so it cannot
// go silent: a try that does not end is left behind, and a session that does not answer is replaced. Then it lets open flows
// go on for Goodbye, and returns.
func Keep(ctx context.Context, c KeepConfig) {
	if c.Count == 0 {
		c.Count = 2
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&c.FirstWait, 100 * time.Millisecond}, {&c.MaxWait, 15 * time.Second}, {&c.TryTimeout, 30 * time.Second}, {&c.Goodbye, 5 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	k := &keeper{KeepConfig: c, up: map[*session]SessionStatus{}, down: time.Now()}
	var err error
	if k.Options, err = c.Options.complete(); err != nil {
		c.Log.Error("the tunnel's options make no sense; there is no tunnel", "error", err)
		return
	}
	var holding sync.WaitGroup
	for range c.Count {
		holding.Go(func() { k.hold(ctx) })
	}
	holding.Wait()
	k.background.Wait()
}

type keeper struct {
	KeepConfig
	background sync.WaitGroup

	telling sync.Mutex // held while Status is called, so that calls are in order
	mu      sync.Mutex
	up      map[*session]SessionStatus
	down    time.Time
	err     error
}

// hold is the supervisor of one session.
func (k *keeper) hold(ctx context.Context) {
	var l ladder
	hung := make(chan struct{}, hungTries)
	failures, duplicates := 0, 0
	for wait := pace.Backoff(0, k.FirstWait, k.MaxWait); pause(ctx, wait); wait = pace.Backoff(failures, k.FirstWait, k.MaxWait) {
		by := l.next(time.Now())
		s, how, err := k.try(ctx, hung, by)
		if ctx.Err() != nil && s == nil {
			return
		}
		if err != nil {
			l.failed(by, how, time.Now())
			failures++
			k.count(by, "failed")
			k.changed(nil, err)
			k.Log.Warn("no tunnel to the control plane", "transport", by, "error", err, "failures", failures)
			continue
		}
		l.up(by)
		if !k.claim(s, by, duplicates < duplicateTries) {
			duplicates++
			k.count(by, "duplicate")
			s.Close()
			continue
		}
		duplicates = 0
		k.count(by, "up")
		began := time.Now()
		err = k.watch(ctx, s, by, &l, hung)
		if err == nil { // there shall be another at once
			failures = 0
			continue
		}
		if time.Since(began) >= k.MaxWait {
			failures = 0
		}
		failures++
		k.Log.Warn("a tunnel to the control plane has ended", "transport", by, "error", err, "after", time.Since(began).Round(time.Second))
	}
}

// pause waits, and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

var errHung = errors.New("the try does not end; it is left behind")

// try is attempt with a watchdog: it returns soon after TryTimeout, whatever Where, Dial or a connection do.
func (k *keeper) try(ctx context.Context, hung chan struct{}, by transport) (*session, failure, error) {
	select {
	case hung <- struct{}{}:
	default:
		return nil, notThere, fmt.Errorf("%d tries do not end; no more are begun until one has", cap(hung))
	}
	ctx, cancel := context.WithTimeout(ctx, k.TryTimeout)
	defer cancel()
	type result struct {
		s   *session
		how failure
		err error
	}
	ended := make(chan result)
	given := make(chan struct{})
	defer close(given)
	go func() {
		defer func() { <-hung }()
		s, how, err := k.attempt(ctx, by)
		select {
		case ended <- result{s, how, err}:
		case <-given:
			if s != nil {
				s.Close()
			}
		}
	}()
	select {
	case r := <-ended:
		return r.s, r.how, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-ended:
		return r.s, r.how, r.err
	case <-time.After(hungGrace):
		k.count(by, "hung")
		return nil, died, errHung
	}
}

func (k *keeper) count(by transport, outcome string) {
	k.Options.Metrics.dials.WithLabelValues(by.String(), outcome).Inc()
}

// claim makes a session one of those that are up, unless another leads to the same replica and that matters.
func (k *keeper) claim(s *session, by transport, distinct bool) bool {
	k.mu.Lock()
	if distinct && s.peer != "" {
		for other := range k.up {
			if other.peer == s.peer {
				k.mu.Unlock()
				return false
			}
		}
	}
	k.up[s] = SessionStatus{Relay: s.peer, Transport: by.String(), Since: time.Now()}
	k.down = time.Time{}
	if len(k.up) >= k.Count {
		k.err = nil
	}
	k.mu.Unlock()
	k.tell()
	k.Log.Info("a tunnel to the control plane is up", "transport", by, "relay", s.peer)
	k.background.Go(func() {
		err := k.Listener.Serve(s)
		s.Close() // the listener is closed, or the session has ended already
		k.changed(s, err)
	})
	return true
}

// changed notes that a session (or none) is not up any more, and why.
func (k *keeper) changed(s *session, err error) {
	k.mu.Lock()
	if _, was := k.up[s]; s != nil && !was {
		k.mu.Unlock()
		return
	}
	delete(k.up, s)
	if len(k.up) == 0 && k.down.IsZero() {
		k.down = time.Now()
	}
	k.err = err
	k.mu.Unlock()
	k.tell()
}

func (k *keeper) tell() {
	if k.Status == nil {
		return
	}
	k.telling.Lock()
	defer k.telling.Unlock()
	k.mu.Lock()
	status := Status{Want: k.Count, Down: k.down, Err: k.err}
	for _, s := range k.up {
		status.Sessions = append(status.Sessions, s)
	}
	k.mu.Unlock()
	slices.SortFunc(status.Sessions, func(a, b SessionStatus) int { return a.Since.Compare(b.Since) })
	k.Status(status)
}

// watch waits for the end of a session. nil means that its successor is wanted at once.
func (k *keeper) watch(ctx context.Context, s *session, by transport, l *ladder, hung chan struct{}) error {
	asking := time.NewTicker(pace.Jittered(watchEvery * k.Options.KeepAlive))
	defer asking.Stop()
	var probe <-chan time.Time
	if by == webSocket {
		probe = time.After(time.Until(l.probe))
	}
	for {
		select {
		case <-s.done:
			k.changed(s, s.err)
			return s.err
		case <-s.peerDrain:
			k.retire(ctx, s)
			return nil
		case <-asking.C:
			// The multiplexer asks too. This is for the day on which it forgets.
			patience, cancel := context.WithTimeout(ctx, 2*k.Options.WriteTimeout)
			_, err := s.Ping(patience)
			cancel()
			if err != nil && ctx.Err() == nil {
				go s.Close()
				k.changed(s, err)
				return err
			}
		case <-probe:
			better, how, err := k.try(ctx, hung, rawTLS)
			if err == nil {
				l.up(rawTLS)
				k.count(rawTLS, "up")
				k.claim(better, rawTLS, false)
				k.retire(ctx, s)
				s, by, probe = better, rawTLS, nil
				continue
			}
			if l.failed(rawTLS, how, time.Now()); how == notThere {
				l.probe = time.Now().Add(probeEvery) // this session is up; there is no hurry
			}
			k.count(rawTLS, "failed")
			probe = time.After(time.Until(l.probe))
		case <-ctx.Done():
			k.retire(ctx, s)
			return ctx.Err()
		}
	}
}

// retire lets the open flows of a session end, in the background: for a while, and not longer than Goodbye once ctx is done.
func (k *keeper) retire(ctx context.Context, s *session) {
	k.changed(s, nil)
	k.background.Go(func() {
		patience, cancel := context.WithTimeout(context.Background(), retireTime)
		defer cancel()
		unhook := context.AfterFunc(ctx, func() {
			select {
			case <-time.After(k.Goodbye):
				cancel()
			case <-patience.Done():
			}
		})
		defer unhook()
		if err := s.Drain(patience); err != nil && !errors.Is(err, net.ErrClosed) {
			k.Log.Info("flows of a tunnel that has ended were cut off", "error", err)
		}
	})
}
