package door

import (
	"maps"
	"net"
	"net/netip"
	"time"
)

// sweepFrom is how many client addresses may be known before those are forgotten that no longer matter.
const sweepFrom = 1024

// admission decides who may come in. It has no clock and no lock: the caller says when it is.
type admission struct {
	limits  Limits
	open    int
	pending int
	callers map[netip.Prefix]*caller
	sweepAt int
}

// caller is what is known of one client address.
type caller struct {
	open    int
	pending int
	credit  float64 // connections it may open at once
	at      time.Time
}

func newAdmission(limits Limits) *admission {
	return &admission{limits: limits, callers: map[netip.Prefix]*caller{}, sweepAt: sweepFrom}
}

// addressOf is the client address that a connection counts for.
func addressOf(remote net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Prefix{} // all that have none count as one
	}
	address := at.Addr().Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // the bits fit the address
	return prefix
}

// arrive takes a new connection in, as one that has not said what it wants, or returns the outcome that refuses it.
func (a *admission) arrive(from netip.Prefix, now time.Time) outcome {
	switch {
	case a.open >= a.limits.Connections:
		return refusedConnections
	case a.pending >= a.limits.Pending:
		return refusedPending
	}
	c := a.callers[from]
	if c == nil {
		if len(a.callers) >= min(a.sweepAt, a.limits.Addresses) {
			a.sweep(now)
		}
		if len(a.callers) >= a.limits.Addresses {
			return refusedAddresses
		}
		c = &caller{credit: float64(a.limits.AddressBurst), at: now}
		a.callers[from] = c
	}
	a.refill(c, now)
	switch {
	case c.credit < 1:
		return refusedAddressRate
	case c.open >= a.limits.AddressConnections:
		return refusedAddressConnections
	case c.pending >= a.limits.AddressPending:
		return refusedAddressPending
	}
	c.credit--
	c.open++
	c.pending++
	a.open++
	a.pending++
	return ""
}

// settle is called once for each that has come in, when it has said what it wants, or is refused for it.
func (a *admission) settle(from netip.Prefix) {
	a.pending--
	a.callers[from].pending--
}

// leave is called once for each that has come in, when it is closed.
func (a *admission) leave(from netip.Prefix) {
	a.open--
	a.callers[from].open--
}

func (a *admission) refill(c *caller, now time.Time) {
	if since := now.Sub(c.at); since > 0 {
		c.credit = min(float64(a.limits.AddressBurst), c.credit+since.Seconds()*float64(a.limits.AddressRate))
		c.at = now
	}
}

// sweep forgets the addresses of which nothing would be different if they had never been here. It costs little because it is
// not done again before as many have come as are left.
func (a *admission) sweep(now time.Time) {
	maps.DeleteFunc(a.callers, func(_ netip.Prefix, c *caller) bool {
		a.refill(c, now)
		return c.open == 0 && c.pending == 0 && c.credit >= float64(a.limits.AddressBurst)
	})
	a.sweepAt = max(sweepFrom, 2*len(a.callers))
}
