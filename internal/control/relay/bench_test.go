package relay_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"biplane.dev/biplane/internal/control/door"
	"biplane.dev/biplane/internal/control/relay"
)

// BenchmarkRelay compares a TLS connection through door, relay and tunnel with a direct one: there and back with 1 KiB, and a
// download in pieces of 1 MiB.
func BenchmarkRelay(b *testing.B) {
	town := newTown(b)
	a := town.open("a", relay.Limits{}, door.Limits{})
	a.seen.off = true
	p := town.plane("east")
	p.dial(a, 2)
	direct, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer direct.Close()
	for _, listener := range []net.Listener{direct, p.listener} {
		go func() {
			sealed := tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{p.own}})
			for {
				conn, err := sealed.Accept()
				if err != nil {
					return
				}
				go answer(conn)
			}
		}()
	}
	for _, way := range []struct{ name, address string }{{"direct", direct.Addr().String()}, {"relay", a.address}} {
		conn, err := tls.Dial("tcp", way.address, &tls.Config{RootCAs: p.trusted(), ServerName: p.host()})
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		for _, size := range []int{1 << 10, 1 << 20} {
			name := map[int]string{1 << 10: "1KiB", 1 << 20: "1MiB"}[size]
			b.Run(name+"/"+way.name, func(b *testing.B) {
				ask := make([]byte, 1<<10)
				ask[0] = byte(size >> 20)
				got := make([]byte, size)
				b.SetBytes(int64(size))
				for b.Loop() {
					if _, err := conn.Write(ask); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(conn, got); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// answer answers each KiB with a KiB, or a MiB when it begins with 1.
func answer(conn net.Conn) {
	defer conn.Close()
	ask, large := make([]byte, 1<<10), make([]byte, 1<<20)
	for {
		if _, err := io.ReadFull(conn, ask); err != nil {
			return
		}
		said := ask
		if ask[0] == 1 {
			said = large
		}
		if _, err := conn.Write(said); err != nil {
			return
		}
	}
}
