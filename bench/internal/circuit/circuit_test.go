package circuit

import (
	"bytes"
	"testing"
	"time"
)

// TestCircuits: both ways carry what is measured on them, near and far.
func TestCircuits(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(time.Duration) (*Circuit, error){"direct": Direct, "relayed": Relayed} {
		for _, rtt := range []time.Duration{0, 5 * time.Millisecond} {
			t.Run(name+"/"+rtt.String(), func(t *testing.T) {
				t.Parallel()
				c, err := build(rtt)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				flow, err := c.Echo()
				if err != nil {
					t.Fatal(err)
				}
				defer flow.Close()
				message := bytes.Repeat([]byte("there and back "), 5000)
				want := bytes.Clone(message)
				began := time.Now()
				if err := flow.Exchange(message); err != nil || !bytes.Equal(message, want) {
					t.Errorf("echo: %v", err)
				}
				if took := time.Since(began); took < rtt {
					t.Errorf("a round trip of %v took %v", rtt, took)
				}
				if err := c.Download(6 << 20); err != nil { // more than a TCP window
					t.Errorf("download: %v", err)
				}
				if err := c.Upload(6 << 20); err != nil {
					t.Errorf("upload: %v", err)
				}
				stalled, err := c.Stall(100 * time.Millisecond)
				if err != nil {
					t.Errorf("stall: %v", err)
				}
				defer stalled.Close()
				if err := flow.Exchange(message); err != nil {
					t.Errorf("beside a stalled flow: %v", err)
				}
			})
		}
	}
}

func BenchmarkDownload(b *testing.B) {
	for name, build := range map[string]func(time.Duration) (*Circuit, error){"direct": Direct, "relayed": Relayed} {
		b.Run(name, func(b *testing.B) {
			c, err := build(0)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.SetBytes(1 << 20)
			if err := c.Download(int64(b.N) << 20); err != nil {
				b.Fatal(err)
			}
		})
	}
}
