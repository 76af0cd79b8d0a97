package door

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func prefix(s string) netip.Prefix {
	return addressOf(&net.TCPAddr{IP: net.ParseIP(s), Port: 1})
}

func TestAClientAddressIsWhatOneClientHas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		if same := prefix(c.a) == prefix(c.b); same != c.same {
			t.Errorf("%s and %s: same %v, want %v", c.a, c.b, same, c.same)
		}
	}
}

func TestEachLimitRefusesForItself(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	one, two := prefix("192.0.2.1"), prefix("192.0.2.2")
	for _, c := range []struct {
		limits Limits
		before func(*admission)
		want   outcome
	}{
		{Limits{Connections: 1}, func(a *admission) { a.arrive(two, now); a.settle(two) }, refusedConnections},
		{Limits{Pending: 1}, func(a *admission) { a.arrive(two, now) }, refusedPending},
		{Limits{Pending: 1}, func(a *admission) { a.arrive(two, now); a.settle(two) }, ""},
		{Limits{AddressConnections: 1}, func(a *admission) { a.arrive(one, now); a.settle(one) }, refusedAddressConnections},
		{Limits{AddressConnections: 1}, func(a *admission) { a.arrive(two, now) }, ""},
		{Limits{AddressConnections: 1}, func(a *admission) { a.arrive(one, now); a.settle(one); a.leave(one) }, ""},
		{Limits{AddressPending: 1}, func(a *admission) { a.arrive(one, now) }, refusedAddressPending},
		{Limits{AddressBurst: 2, AddressRate: 1}, func(a *admission) { a.arrive(one, now); a.arrive(one, now) }, refusedAddressRate},
		{Limits{AddressBurst: 2, AddressRate: 1}, func(a *admission) { a.arrive(one, now.Add(-time.Second)); a.arrive(one, now) }, ""},
		{Limits{Addresses: 1}, func(a *admission) { a.arrive(two, now) }, refusedAddresses},
		{Limits{Addresses: 1, AddressBurst: 1, AddressRate: 1}, func(a *admission) {
			a.arrive(two, now.Add(-time.Minute)) // has left long ago: is forgotten
			a.settle(two)
			a.leave(two)
		}, ""},
	} {
		a := newAdmission(c.limits.withDefaults())
		c.before(a)
		if got := a.arrive(one, now); got != c.want {
			t.Errorf("limits %+v: outcome %q, want %q", c.limits, got, c.want)
		}
	}
}

func TestTheBooksOfTheDoorBalance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{Connections: 8, Pending: 5, AddressConnections: 4, AddressPending: 3, AddressRate: 2, AddressBurst: 6, Addresses: 5}.withDefaults()
		a := newAdmission(limits)
		a.sweepAt = 2
		type guest struct {
			from    netip.Prefix
			settled bool
			left    bool
		}
		var guests []*guest
		now := time.Unix(0, 0)
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				from := prefix([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"}[rapid.IntRange(0, 6).Draw(t, "address")])
				if a.arrive(from, now) == "" {
					guests = append(guests, &guest{from: from})
				}
			},
			"settle": func(t *rapid.T) {
				if len(guests) > 0 {
					if g := rapid.SampledFrom(guests).Draw(t, "guest"); !g.settled {
						g.settled = true
						a.settle(g.from)
					}
				}
			},
			"leave": func(t *rapid.T) { // before it has settled, too: when the door stops
				if len(guests) > 0 {
					if g := rapid.SampledFrom(guests).Draw(t, "guest"); !g.left {
						g.left = true
						a.leave(g.from)
					}
				}
			},
			"pass": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(t *rapid.T) {
				open, pending := map[netip.Prefix]int{}, map[netip.Prefix]int{}
				allOpen, allPending := 0, 0
				for _, g := range guests {
					if !g.left {
						open[g.from]++
						allOpen++
					}
					if !g.settled {
						pending[g.from]++
						allPending++
					}
				}
				if a.open != allOpen || a.pending != allPending || allOpen > limits.Connections || allPending > limits.Pending || len(a.callers) > limits.Addresses {
					t.Fatalf("open %d pending %d addresses %d, want %d %d", a.open, a.pending, len(a.callers), allOpen, allPending)
				}
				for from, n := range open {
					if n > limits.AddressConnections || pending[from] > limits.AddressPending || a.callers[from] == nil || a.callers[from].open != n {
						t.Fatalf("%v: open %d, pending %d", from, n, pending[from])
					}
				}
			},
		})
	})
}
