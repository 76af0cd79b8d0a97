package hello_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"biplane.dev/biplane/internal/control/door/hello"
)

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		tls.Client(far, config).Handshake()
	}()
	header := make([]byte, 5)
	if _, err := io.ReadFull(near, header); err != nil {
		t.Fatal(err)
	}
	raw := append(header, make([]byte, int(header[3])<<8|int(header[4]))...)
	if _, err := io.ReadFull(near, raw[5:]); err != nil {
		t.Fatal(err)
	}
	return raw
}

func usual(t testing.TB) []byte {
	return clientHello(t, &tls.Config{ServerName: "Plane.Org.Example.com", NextProtos: []string{"h2", "http/1.1"}})
}

// conn gives one chunk per Read, and then nothing, or EOF.
type conn struct {
	net.Conn
	chunks [][]byte
	read   int
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.chunks[0])
	c.read += n
	if c.chunks[0] = c.chunks[0][n:]; len(c.chunks[0]) == 0 {
		c.chunks = c.chunks[1:]
	}
	return n, nil
}

func (c *conn) SetReadDeadline(time.Time) error { return nil }

func record(body []byte) []byte {
	return append([]byte{22, 3, 1, byte(len(body) >> 8), byte(len(body))}, body...)
}

func check(t *testing.T, c *conn, sent []byte) {
	t.Helper()
	h, err := hello.Read(c, 16<<10, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if h.ServerName != "plane.org.example.com" || !slices.Equal(h.Protocols, []string{"h2", "http/1.1"}) || h.ECH {
		t.Fatalf("hello %+v", h)
	}
	if !bytes.Equal(h.Raw, sent) {
		t.Fatalf("%d bytes to replay, %d were sent", len(h.Raw), len(sent))
	}
}

func TestAHelloIsReadHoweverItIsCut(t *testing.T) {
	t.Parallel()
	whole := usual(t)
	message := whole[5:]
	more := []byte("what follows is not touched")
	for at := 1; at < len(whole); at++ { // segments of TCP
		c := &conn{chunks: [][]byte{whole[:at], whole[at:], more}}
		check(t, c, whole)
		if c.read != len(whole) {
			t.Fatalf("cut at %d: %d bytes were read of %d", at, c.read, len(whole))
		}
	}
	for at := 1; at < len(message); at++ { // records of TLS
		sent := append(record(message[:at]), record(message[at:])...)
		check(t, &conn{chunks: [][]byte{sent}}, sent)
	}
	var sent []byte
	var chunks [][]byte
	for _, b := range message {
		sent = append(sent, record([]byte{b})...)
	}
	for _, b := range sent {
		chunks = append(chunks, []byte{b})
	}
	check(t, &conn{chunks: chunks}, sent)
}

func TestWithoutANameOrProtocols(t *testing.T) {
	t.Parallel()
	raw := clientHello(t, &tls.Config{InsecureSkipVerify: true})
	h, err := hello.Read(&conn{chunks: [][]byte{raw}}, 16<<10, time.Time{})
	if err != nil || h.ServerName != "" || h.Protocols != nil || h.ECH {
		t.Fatalf("hello %+v, err %v", h, err)
	}
}

// extended puts an extension at the end of a hello in one record, all lengths corrected.
func extended(raw []byte, extension uint16, data []byte) []byte {
	add := append([]byte{byte(extension >> 8), byte(extension), byte(len(data) >> 8), byte(len(data))}, data...)
	message := append(slices.Clone(raw[5:]), add...)
	size := len(message) - 4
	message[1], message[2], message[3] = byte(size>>16), byte(size>>8), byte(size)
	at := 4 + 2 + 32
	at += 1 + int(message[at])                         // session
	at += 2 + int(message[at])<<8 + int(message[at+1]) // suites
	at += 1 + int(message[at])                         // compression
	was := int(message[at])<<8 + int(message[at+1])    // extensions
	message[at], message[at+1] = byte((was+len(add))>>8), byte(was+len(add))
	return record(message)
}

func TestThePretenceOfECHHidesNothing(t *testing.T) {
	t.Parallel()
	raw := extended(usual(t), 0xfe0d, bytes.Repeat([]byte{7}, 200))
	h, err := hello.Read(&conn{chunks: [][]byte{raw}}, 16<<10, time.Time{})
	if err != nil || !h.ECH || h.ServerName != "plane.org.example.com" || !bytes.Equal(h.Raw, raw) {
		t.Fatalf("hello %+v, err %v", h, err)
	}
}

func TestWhatIsNoHello(t *testing.T) {
	t.Parallel()
	whole := usual(t)
	large := slices.Clone(whole)
	large[6] = 1 // 65 KiB and more
	named := func(name string) []byte {
		list := append([]byte{0, byte(len(name) >> 8), byte(len(name))}, name...)
		return append([]byte{byte(len(list) >> 8), byte(len(list))}, list...)
	}
	unnamed := clientHello(t, &tls.Config{InsecureSkipVerify: true})
	for _, c := range []struct {
		what   string
		sent   []byte
		reason hello.Reason
	}{
		{"nothing", nil, hello.Gone},
		{"half of it", whole[:len(whole)/2], hello.Gone},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), hello.PlainHTTP},
		{"HTTP/2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), hello.PlainHTTP},
		{"a long method", []byte("OPTIONS * HTTP/1.1\r\n\r\n"), hello.PlainHTTP},
		{"SSH", []byte("SSH-2.0-OpenSSH_9.2\r\n"), hello.NotTLS},
		{"zeros", make([]byte, 100), hello.NotTLS},
		{"SSL 2", []byte{0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 16}, hello.NotTLS},
		{"another message first", record([]byte{2, 0, 0, 1, 0}), hello.Malformed},
		{"an alert behind half of it", slices.Concat(record(whole[5:50]), []byte{21, 3, 1, 0, 2, 1, 0}), hello.Malformed},
		{"an empty record", slices.Concat(record(whole[5:50]), record(nil), record(whole[50:])), hello.Malformed},
		{"a record larger than records are", append([]byte{22, 3, 1, 0xff, 0xff}, make([]byte, 1<<16)...), hello.Malformed},
		{"a length beyond the limit", large, hello.TooLarge},
		{"records beyond the limit", slices.Concat(record(append([]byte{1, 0, 0x3f, 0xf0}, make([]byte, 16000)...)), record(make([]byte, 1000))), hello.TooLarge},
		{"garbage of the right length", record(append([]byte{1, 0, 0, 60}, bytes.Repeat([]byte{0xff}, 60)...)), hello.Malformed},
		{"two lists of names", extended(whole, 0, named("other.example.com")), hello.Malformed},
		{"two lists of protocols", extended(whole, 16, []byte{0, 3, 2, 'h', '2'}), hello.Malformed},
		{"a dot at the end of the name", extended(unnamed, 0, named("plane.org.example.com.")), hello.Malformed},
		{"an empty name", extended(unnamed, 0, named("")), hello.Malformed},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			h, err := hello.Read(&conn{chunks: [][]byte{c.sent}}, 16<<10, time.Time{})
			var e *hello.Error
			if !errors.As(err, &e) || e.Reason != c.reason {
				t.Fatalf("hello %+v, err %v; want %s", h, err, c.reason)
			}
		})
	}
}

func TestAHelloInDropsIsTooSlow(t *testing.T) {
	t.Parallel()
	whole := usual(t)
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		done := make(chan struct{})
		defer func() {
			near.Close()
			<-done
		}()
		go func() {
			defer close(done)
			defer far.Close()
			for _, b := range whole { // never silent for long, never done
				if _, err := far.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		began := time.Now()
		_, err := hello.Read(near, 16<<10, began.Add(10*time.Second))
		var e *hello.Error
		if !errors.As(err, &e) || e.Reason != hello.TooSlow || time.Since(began) != 10*time.Second {
			t.Fatalf("err %v after %v", err, time.Since(began))
		}
	})
}
