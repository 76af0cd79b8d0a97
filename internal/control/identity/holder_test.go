package identity

import (
	"fmt"
	"testing"
	"time"
)

// play is the holder of a plane, and a clock; a beat is a second, patience three.
type play struct {
	t   *testing.T
	h   holder
	now time.Time
}

func (p *play) hello(life string, want entry) {
	p.t.Helper()
	got := p.h.admit(life, p.now, time.Second, 3*time.Second)
	if got != want {
		p.t.Errorf("life %s: %d, want %d", life, got, want)
	}
	if got == enter {
		p.h.hold(life, p.now)
	}
}

func (p *play) after(d time.Duration) *play { p.now = p.now.Add(d); return p }
func (p *play) speaks()                     { p.h.heard = p.now }
func (p *play) gone()                       { p.h.open = false }

func newPlay(t *testing.T) *play { return &play{t: t, now: time.Unix(1000, 0)} }

func TestTheHolderStaysWhileItSpeaks(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.hello("a", enter)
	p.hello("a", enter) // a newer connection of the same process
	p.after(time.Second).hello("b", wait)
	p.hello("b", wait) // nothing has been proven since
	p.after(time.Second).speaks()
	p.hello("b", wait) // one word may have been on its way
	p.after(time.Second).speaks()
	p.hello("b", stay)
	p.gone()
	p.hello("b", stay) // a moment without a connection is no reason
	p.hello("a", enter)
	p.after(3*time.Second + 1)
	p.hello("b", enter) // the holder has gone: the plane was moved
	p.after(time.Second).speaks()
	p.hello("a", wait) // now this one is the other
	p.after(2 * time.Second).speaks()
	p.hello("a", stay)
}

func TestARestartComesIn(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.hello("a", enter)
	p.gone()
	p.hello("b", enter) // the old connection was seen to end
	p.hello("c", wait)  // the machine lost power: the old connection looks alive
	p.after(3*time.Second + 1)
	p.hello("c", enter)
}

func TestRivalsAreBounded(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.hello("a", enter)
	for i := range 10 * maxRivals {
		p.hello(fmt.Sprint("rival ", i), wait)
	}
	if n := len(p.h.rivals); n != maxRivals {
		t.Errorf("%d rivals are remembered", n)
	}
}
