package tunnel

import (
	"time"
)

// transport is how the bytes of a session travel.
type transport int

const (
	rawTLS transport = iota
	webSocket
)

func (t transport) String() string {
	if t == webSocket {
		return "websocket"
	}
	return "tls"
}

// failure is what a try that failed says about its transport.
type failure int

const (
	// notThere: nobody could be asked, or is not who it should be. The other transport would fail in the same way.
	notThere failure = iota
	// noALPN: whoever answers does not know the protocol, or something between does not let it through.
	noALPN
	// died: there was a connection, and it ended or fell silent before it was of use.
	died
)

const (
	deathsAllowed = 2         // in a row, before the other transport is tried
	probeEvery    = time.Hour // raw TLS is tried again so often while the WebSocket is in use
)

// ladder decides by which transport to try next: raw TLS, and a WebSocket where raw TLS does not come through. It has no
// clock of its own.
type ladder struct {
	on     transport
	deaths int       // of the transport in use, in a row
	probe  time.Time // when to try raw TLS again, while on webSocket
}

// next is the transport of the next try.
func (l *ladder) next(now time.Time) transport {
	if l.on == webSocket && !now.Before(l.probe) {
		return rawTLS
	}
	return l.on
}

// up: a session by the transport has answered its first ping.
func (l *ladder) up(by transport) {
	l.deaths = 0
	if by == rawTLS {
		l.on = rawTLS
	}
}

// failed: a try by the transport has come to nothing.
func (l *ladder) failed(by transport, how failure, now time.Time) {
	switch {
	case how == notThere:
	case by != l.on: // the probe
		l.probe = now.Add(probeEvery)
	case by == rawTLS && how == noALPN:
		l.change(now)
	default:
		if l.deaths++; l.deaths >= deathsAllowed {
			l.change(now)
		}
	}
}

func (l *ladder) change(now time.Time) {
	l.deaths = 0
	if l.on == webSocket {
		l.on = rawTLS
		return
	}
	l.on, l.probe = webSocket, now.Add(probeEvery)
}
