package linktest

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Proxy stands between the planes and is as bad as it is told to be.
type Proxy struct {
	target   string
	listener net.Listener

	mu       sync.Mutex
	random   *rand.Rand
	cutUpTo  int // bytes after which a connection is cut, at most; 0: never
	stalled  chan struct{}
	accepted int
	open     map[net.Conn]struct{}
}

// NewProxy listens on a loopback port and passes connections on to the target.
func NewProxy(t testing.TB, seed uint64, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: listener, random: rand.New(rand.NewPCG(seed, 0)), open: map[net.Conn]struct{}{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.Recover()
		p.CutAll()
		serving.Wait()
	})
	return p
}

// Address is where to connect.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Cut makes every new connection end after a random number of bytes, below most, in either direction. 0 ends that.
func (p *Proxy) Cut(most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutUpTo = most
}

// CutAll ends the connections that are open.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		conn.Close()
	}
}

// Stall stops every byte, now and on new connections, without closing anything, until Recover.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = make(chan struct{})
}

// Recover ends a stall.
func (p *Proxy) Recover() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// Accepted counts the connections so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return // the control plane is away; so is the connection
	}
	defer server.Close()
	p.mu.Lock()
	p.accepted++
	p.open[client] = struct{}{}
	limit := -1
	if p.cutUpTo > 0 {
		limit = p.random.IntN(p.cutUpTo)
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, client)
	}()
	budget := &budget{left: limit}
	var halves sync.WaitGroup
	for _, way := range []struct{ from, to net.Conn }{{client, server}, {server, client}} {
		halves.Go(func() {
			defer client.Close()
			defer server.Close()
			p.pump(way.from, way.to, budget)
		})
	}
	halves.Wait()
}

func (p *Proxy) pump(from, to net.Conn, budget *budget) {
	buffer := make([]byte, 4<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		n, whole := budget.take(n)
		if _, failed := to.Write(buffer[:n]); failed != nil || !whole || err != nil {
			return
		}
	}
}

// budget is what a connection may still carry, in both directions together.
type budget struct {
	mu   sync.Mutex
	left int // below 0: without end
}

func (b *budget) take(n int) (granted int, whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < 0 {
		return n, true
	}
	granted = min(n, b.left)
	b.left -= granted
	return granted, granted == n
}
