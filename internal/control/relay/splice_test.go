package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func unregistered() (*metrics, error) { return newMetrics(prometheus.NewRegistry(), nil) }

// half is an end of a pipe of which one direction can be closed: the other side reads EOF when half was closed for writing.
type half struct {
	net.Conn
	shut chan struct{}
	far  *half
}

func pipe() (a, b *half) {
	x, y := net.Pipe()
	a, b = &half{Conn: x, shut: make(chan struct{})}, &half{Conn: y, shut: make(chan struct{})}
	a.far, b.far = b, a
	return a, b
}

func (h *half) CloseWrite() error {
	close(h.shut)
	h.far.SetReadDeadline(time.Unix(1, 0))
	return nil
}

func (h *half) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	select {
	case <-h.far.shut:
		if err != nil {
			err = io.EOF
		}
	default:
	}
	return n, err
}

// spliced runs a splice; its two far ends are given to fn, and how it ended is returned.
func spliced(t *testing.T, limits Limits, fn func(client, plane *half)) error {
	m, err := unregistered()
	if err != nil {
		t.Fatal(err)
	}
	client, near := pipe()
	plane, stream := pipe()
	s := &splice{client: near, stream: stream, limits: limits.withDefaults(), metrics: m}
	ended := make(chan error, 1)
	go func() { ended <- s.run(context.Background(), 0, []byte("first answer")) }()
	answer := make([]byte, 12)
	if _, err := io.ReadFull(client, answer); err != nil || string(answer) != "first answer" {
		t.Errorf("answer %q, err %v", answer, err)
	}
	fn(client, plane)
	err = <-ended
	for _, end := range []*half{client, plane} {
		end.Close()
	}
	return err
}

func TestASilentConnectionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := spliced(t, Limits{IdleTime: time.Minute}, func(client, plane *half) {
			for range 5 { // a word in either direction counts
				time.Sleep(50 * time.Second)
				go client.Write([]byte("x"))
				io.ReadFull(plane, make([]byte, 1))
				time.Sleep(50 * time.Second)
				go plane.Write([]byte("x"))
				io.ReadFull(client, make([]byte, 1))
			}
		})
		if took := time.Since(began); !errors.Is(err, errIdle) || took != 500*time.Second+time.Minute {
			t.Errorf("err %v after %v", err, took)
		}
	})
}

func TestAConnectionIsNotHalfClosedForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := spliced(t, Limits{HalfClose: time.Minute}, func(client, plane *half) {
			time.Sleep(time.Second)
			client.CloseWrite()
			if _, err := plane.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the plane reads err %v", err)
			}
		})
		if took := time.Since(began); !errors.Is(err, errHalfClosed) || took != 61*time.Second {
			t.Errorf("err %v after %v", err, took)
		}
	})
}

func TestBothDirectionsEndWell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sent := make([]byte, 1<<20)
		rand.Read(sent)
		var got []byte
		err := spliced(t, Limits{}, func(client, plane *half) {
			go func() {
				// Pieces of all sizes, so that buffers are changed on the way.
				for rest, n := sent, 1; len(rest) > 0; n = n*3 + 1 {
					if n > 200_000 {
						n = 1
					}
					n = min(n, len(rest))
					client.Write(rest[:n])
					rest = rest[n:]
				}
				client.CloseWrite()
			}()
			got, _ = io.ReadAll(plane)
			plane.CloseWrite()
			if _, err := client.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the client reads err %v", err)
			}
		})
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came, err %v", len(got), err)
		}
	})
}
