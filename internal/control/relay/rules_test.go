package relay

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"biplane.dev/biplane/internal/link"
)

func TestNamesOfTheZone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, zone string
		want       target
		ok         bool
	}{
		{"east.acme.dp.example.com", "dp.example.com", target{Org: "acme", Name: "east"}, true},
		{"acme.dp.example.com", "dp.example.com", target{Org: "acme"}, true},
		{"dp.example.com", "dp.example.com", target{}, false},
		{".dp.example.com", "dp.example.com", target{}, false},
		{"east..dp.example.com", "dp.example.com", target{}, false},
		{".acme.dp.example.com", "dp.example.com", target{}, false},
		{"a.east.acme.dp.example.com", "dp.example.com", target{}, false},
		{"acmedp.example.com", "dp.example.com", target{}, false},
		{"acme", "", target{}, false},
		{"acme.", "", target{}, false},
	} {
		if got, ok := inZone(c.name, c.zone); got != c.want || ok != c.ok {
			t.Errorf("%q in %q: %v %v", c.name, c.zone, got, ok)
		}
	}
}

func TestTheBetterSessionComesFirst(t *testing.T) {
	t.Parallel()
	doubtful := &session{doubt: true}
	busy := &session{streams: 3}
	far := &session{streams: 1, rtt: 2 * time.Millisecond}
	near := &session{streams: 1, rtt: time.Millisecond}
	want := []*session{near, far, busy, doubtful}
	rapid.Check(t, func(t *rapid.T) {
		got := rapid.Permutation(want).Draw(t, "sessions")
		order(got)
		if !slices.Equal(got, want) {
			t.Fatalf("order %v", got)
		}
	})
}

func TestBytesPassInTheirTime(t *testing.T) {
	t.Parallel()
	if newThrottle(0).wait(1<<30, nil) != true {
		t.Error("without a limit somebody waits")
	}
	rapid.Check(t, func(t *rapid.T) {
		th := newThrottle(1000)
		now := time.Unix(0, 0)
		began := now
		sent := 0
		for range 50 {
			n := rapid.IntRange(1, 5000).Draw(t, "bytes")
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			now = now.Add(th.pass(n, now))
			// All before these have had their time.
			if due := time.Duration(float64(sent) / 1000 * float64(time.Second)); now.Sub(began) < due-time.Millisecond {
				t.Fatalf("%d bytes in %v", sent, now.Sub(began))
			}
			sent += n
		}
	})
}

// TestBeats: whatever the readers' clock says and whenever it looks, a replica whose beat rises at least every life is taken for
// alive, and one whose beat has stood still for longer is not.
func TestBeats(t *testing.T) {
	t.Parallel()
	const life = 15 * time.Second
	rapid.Check(t, func(t *rapid.T) {
		b := beats{life: life}
		now := time.Unix(rapid.Int64Range(0, 1e9).Draw(t, "clock"), 0)
		beat := rapid.Int64Range(0, 1<<40).Draw(t, "beat")
		var first time.Time // when this beat was noted first
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms")) * time.Millisecond)
			if rapid.IntRange(0, 5).Draw(t, "rises") == 0 {
				beat++
				first = time.Time{}
			}
			alive := first.IsZero() || now.Sub(first) < life
			if got := b.alive("x", beat, now); got != alive {
				t.Fatalf("alive %v; the beat was first seen %v ago", got, now.Sub(first))
			}
			if first.IsZero() {
				first = now
			}
			b.note(map[string]int64{"x": beat}, now)
			if _, dead := b.dead(now)["x"]; dead != (now.Sub(first) >= 4*life) {
				t.Fatalf("dead %v; the beat was first seen %v ago", dead, now.Sub(first))
			}
		}
		b.note(nil, now)
		if len(b.dead(now.Add(time.Hour))) != 0 {
			t.Fatal("one that has left is remembered")
		}
	})
}

func TestOneClientAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::2]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
	} {
		if (hostOf(c.a) == hostOf(c.b)) != c.same {
			t.Errorf("%s and %s: %v %v", c.a, c.b, hostOf(c.a), hostOf(c.b))
		}
	}
}

func TestAPlaneWithNothingIsForgotten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := &Relay{config: Config{Limits: Limits{Sessions: 3, Streams: 4, AddressStreams: 2}.withDefaults()}, planes: map[link.Plane]*plane{}, dirty: make(chan struct{}, 1)}
		var err error
		if r.metrics, err = unregistered(); err != nil {
			t.Fatal(err)
		}
		of := link.Plane{Org: "acme", Name: "east"}
		var sessions []*session
		var leaves []func()
		t.Repeat(map[string]func(*rapid.T){
			"join": func(*rapid.T) {
				s := &session{of: of}
				if _, err := r.join(s); err == nil {
					sessions = append(sessions, s)
				}
			},
			"part": func(t *rapid.T) {
				if len(sessions) > 0 {
					i := rapid.IntRange(0, len(sessions)-1).Draw(t, "session")
					r.part(sessions[i])
					sessions = slices.Delete(sessions, i, i+1)
				}
			},
			"enter": func(t *rapid.T) {
				from := hostOf(rapid.SampledFrom([]string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"}).Draw(t, "client"))
				var by *session
				if ways := r.local(of); len(ways) > 0 {
					by = ways[0]
				}
				if _, leave, err := r.enter(of, by, from); err == nil {
					leaves = append(leaves, leave)
				}
			},
			"leave": func(t *rapid.T) {
				if len(leaves) > 0 {
					i := rapid.IntRange(0, len(leaves)-1).Draw(t, "connection")
					leaves[i]()
					leaves = slices.Delete(leaves, i, i+1)
				}
			},
			"": func(t *rapid.T) {
				p := r.planes[of]
				if (p == nil) != (len(r.local(of)) == 0 && len(leaves) == 0) {
					t.Fatalf("plane %+v with %d connections", p, len(leaves))
				}
				if p == nil {
					return
				}
				sum := 0
				for _, n := range p.callers {
					sum += n
					if n < 1 || n > 2 {
						t.Fatalf("a client has %d connections", n)
					}
				}
				if p.streams != len(leaves) || sum != len(leaves) || p.streams > 4 || len(p.sessions) > 3 {
					t.Fatalf("plane %+v with %d connections", p, len(leaves))
				}
			},
		})
	})
}
