package dial_test

import (
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"biplane.dev/biplane/internal/link/dial"
)

// resolver answers each question of type A with v4 and of type AAAA with v6, over UDP; nil is no address.
func resolver(t *testing.T, v4, v6 net.IP) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if n > 12 {
				_, _ = conn.WriteTo(answer(buffer[:n], v4, v6), from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// answer is a DNS answer (RFC 1035, section 4) to a message with one question.
func answer(question []byte, v4, v6 net.IP) []byte {
	end := 12
	for question[end] != 0 {
		end += 1 + int(question[end])
	}
	end += 5 // the root label, type and class
	kind := binary.BigEndian.Uint16(question[end-4:])
	address := map[uint16]net.IP{1: v4, 28: v6}[kind]
	reply := append([]byte(nil), question[:end]...)
	copy(reply[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	if address != nil {
		reply[7] = 1
		reply = append(reply, 0xc0, 12)
		reply = binary.BigEndian.AppendUint16(reply, kind)
		reply = append(reply, 0, 1, 0, 0, 0, 60)
		reply = binary.BigEndian.AppendUint16(reply, uint16(len(address)))
		reply = append(reply, address...)
	}
	return reply
}

// TestBothFamiliesAreTried: a name with an IPv6 address where nobody answers and a good IPv4 one, and the other way round.
func TestBothFamiliesAreTried(t *testing.T) {
	t.Parallel()
	listen := func(network, address string) string {
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		serveOn(t, listener, func(conn net.Conn) {
			_, _ = conn.Write([]byte("hello\n"))
			buffer := make([]byte, 4)
			n, _ := conn.Read(buffer)
			_, _ = conn.Write(buffer[:n])
		})
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		return port
	}
	v4, v6 := net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback
	t.Run("IPv4 behind an IPv6 that is closed", func(t *testing.T) {
		t.Parallel()
		conn, err := dialer(t, dial.Config{Resolver: resolver(t, v4, v6)}).Dial(t.Context(), "tcp", "both.biplane.invalid:"+listen("tcp4", "127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(conn.RemoteAddr().String(), "127.0.0.1:") {
			t.Errorf("connected to %s", conn.RemoteAddr())
		}
		converse(t, conn)
	})
	t.Run("IPv6 only", func(t *testing.T) {
		t.Parallel()
		conn, err := dialer(t, dial.Config{Resolver: resolver(t, nil, v6)}).Dial(t.Context(), "tcp", "six.biplane.invalid:"+listen("tcp6", "[::1]:0"))
		if err != nil {
			t.Fatal(err)
		}
		converse(t, conn)
	})
	t.Run("an IPv6 address as it is", func(t *testing.T) {
		t.Parallel()
		conn, err := dialer(t, dial.Config{}).Dial(t.Context(), "tcp", "[::1]:"+listen("tcp6", "[::1]:0"))
		if err != nil {
			t.Fatal(err)
		}
		converse(t, conn)
	})
}
