package dial_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/dial"
	"biplane.dev/biplane/internal/link/linktest/localca"
)

// far is a name that no resolver knows: only a proxy gets there.
const far = "control.biplane.invalid:443"

// serve listens on a loopback port and handles each connection until the test ends.
func serve(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, listener, handle)
	return listener.Addr().String()
}

func serveOn(t *testing.T, listener net.Listener, handle func(net.Conn)) {
	var mu sync.Mutex
	open := map[net.Conn]struct{}{}
	closed := false
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = struct{}{}
			if closed {
				conn.Close()
			}
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		closed = true
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
}

// greeter speaks first and then sends back what comes.
func greeter(t *testing.T) string {
	return serve(t, func(conn net.Conn) {
		fmt.Fprint(conn, "hello\n")
		_, _ = io.Copy(conn, conn)
		_ = conn.(*net.TCPConn).CloseWrite()
	})
}

// proxy answers CONNECT; it leads every name to one target.
type proxy struct {
	target  string
	want    string // user:password, "" for anybody
	status  int    // what it answers instead of connecting
	words   string // what it says instead of HTTP
	hurried bool   // what the target says first is sent in one piece with the answer

	mu       sync.Mutex
	requests []string // "CONNECT host:port"
	headers  []http.Header
}

func (p *proxy) handle(conn net.Conn) {
	reader := bufio.NewReader(conn)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.requests = append(p.requests, request.Method+" "+request.RequestURI)
	p.headers = append(p.headers, request.Header)
	p.mu.Unlock()
	given := request.Header.Get("Proxy-Authorization")
	switch {
	case p.words != "":
		fmt.Fprint(conn, p.words)
		return
	case p.want != "" && given != "Basic "+base64.StdEncoding.EncodeToString([]byte(p.want)):
		fmt.Fprint(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 3\r\n\r\nno!")
		return
	case p.status != 0:
		fmt.Fprintf(conn, "HTTP/1.1 %d Because\r\nContent-Length: 0\r\n\r\n", p.status)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	answer := "HTTP/1.1 200 Connection established\r\n\r\n"
	if p.hurried {
		first := make([]byte, len("hello\n"))
		if _, err := io.ReadFull(server, first); err != nil {
			return
		}
		answer += string(first)
	}
	fmt.Fprint(conn, answer)
	var halves sync.WaitGroup
	halves.Go(func() {
		_, _ = io.Copy(server, reader)
		_ = server.(*net.TCPConn).CloseWrite()
	})
	halves.Go(func() {
		_, _ = io.Copy(conn, server)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	})
	halves.Wait()
}

func dialer(t *testing.T, c dial.Config) *dial.Dialer {
	t.Helper()
	d, err := dial.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// converse reads the greeting, sends something, closes its half and reads it back.
func converse(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello\nping" {
		t.Errorf("got %q, err %v", got, err)
	}
}

func TestAProxyLeadsToTheTarget(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user    string // in the URL
		want    string
		hurried bool
	}{
		"anybody":                         {},
		"user and password":               {"plane:secret@", "plane:secret", false},
		"a password with special letters": {"plane:s%40cr%3A%2Ft@", "plane:s@cr:/t", false},
		"bytes behind the answer":         {"", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &proxy{target: greeter(t), want: c.want, hurried: c.hurried}
			conn, err := dialer(t, dial.Config{HTTPSProxy: "http://" + c.user + serve(t, p.handle)}).Dial(t.Context(), "tcp", far)
			if err != nil {
				t.Fatal(err)
			}
			converse(t, conn)
			if len(p.requests) != 1 || p.requests[0] != "CONNECT "+far {
				t.Errorf("requests %q", p.requests)
			}
			if got := p.headers[0].Get("Proxy-Authorization"); (got != "") != (c.user != "") {
				t.Errorf("authorization %q", got)
			}
		})
	}
}

func TestAProxyReachedOverTLS(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	ca, err := localca.Open(filepath.Join(root, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Server(filepath.Join(root, "tls"), "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(root, "tls", link.CertFile), filepath.Join(root, "tls", link.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: greeter(t), want: "u:secret"}
	address := serve(t, func(conn net.Conn) {
		secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}})
		p.handle(secure)
		secure.Close()
	})
	ours := dialer(t, dial.Config{HTTPSProxy: "https://u:secret@" + address, CAFiles: []string{filepath.Join(root, "tls", link.CAFile)}})
	conn, err := ours.Dial(t.Context(), "tcp", far)
	if err != nil {
		t.Fatal(err)
	}
	converse(t, conn)

	for name, c := range map[string]struct {
		proxy string
		want  string
	}{
		"its authority is unknown": {"https://u:secret@" + address, "give the authority's certificate as a CA file"},
		"it does not speak TLS":    {"https://u:secret@" + serve(t, (&proxy{words: "x"}).handle), "proxy"},
	} {
		_, err := dialer(t, dial.Config{HTTPSProxy: c.proxy}).Dial(t.Context(), "tcp", far)
		check(t, name, err, c.want)
	}
}

// check wants the words in the error, and the password nowhere in it or behind it.
func check(t *testing.T, name string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %q, want %q in it", name, err, want)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(fmt.Sprintf("%+v", e), "secret") {
			t.Errorf("%s: the password is in %q", name, e)
		}
	}
}

func TestWhatAProxyRefusesIsSaidWithWhatHelps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		proxy *proxy
		user  string
		want  string
		kind  fault.Kind
	}{
		"no password":     {&proxy{want: "u:p"}, "", "refused with 407: set user and password in HTTPS_PROXY", fault.KindDenied},
		"wrong password":  {&proxy{want: "u:p"}, "u:secret@", "does not take the user and password", fault.KindDenied},
		"not allowed":     {&proxy{status: 403}, "u:secret@", "must allow CONNECT to " + far, fault.KindDenied},
		"no way":          {&proxy{status: 502}, "u:secret@", "could not reach " + far, fault.KindUnavailable},
		"something else":  {&proxy{status: 301}, "u:secret@", "with 301", fault.KindUnavailable},
		"no HTTP":         {&proxy{words: "220 mail ready\r\n"}, "u:secret@", "is not an HTTP proxy", fault.KindUnavailable},
		"an endless head": {&proxy{words: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10)}, "u:secret@", "", fault.KindUnavailable},
		"silence":         {&proxy{words: "\x00"}, "u:secret@", "", fault.KindUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := dialer(t, dial.Config{HTTPSProxy: "http://" + c.user + serve(t, c.proxy.handle)}).Dial(t.Context(), "tcp", far)
			check(t, name, err, c.want)
			if fault.KindOf(err) != c.kind {
				t.Errorf("kind %v, want %v", fault.KindOf(err), c.kind)
			}
		})
	}
}

func TestASilentProxyIsGivenUp(t *testing.T) {
	t.Parallel()
	heard := make(chan struct{}, 2)
	silent := serve(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		heard <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
	})
	_, err := dialer(t, dial.Config{HTTPSProxy: "http://u:secret@" + silent, Timeout: 50 * time.Millisecond}).Dial(t.Context(), "tcp", far)
	check(t, "after the time", err, "")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-heard; <-heard; cancel() }()
	_, err = dialer(t, dial.Config{HTTPSProxy: "http://u:secret@" + silent, Timeout: time.Hour}).Dial(ctx, "tcp", far)
	check(t, "by the caller", err, "") // that it returns at all: its own time is an hour
}

func TestNoProxyIsObeyed(t *testing.T) {
	t.Parallel()
	p := &proxy{target: greeter(t)}
	c := dial.Config{HTTPSProxy: "http://" + serve(t, p.handle), NoProxy: "other.invalid, .inside.invalid"}
	d := dialer(t, c)
	if _, err := d.Dial(t.Context(), "tcp", "x.inside.invalid:443"); err == nil {
		t.Error("a name that does not exist was reached")
	}
	conn, err := d.Dial(t.Context(), "tcp", p.target) // loopback is never proxied
	if err != nil {
		t.Fatal(err)
	}
	converse(t, conn)
	if len(p.requests) != 0 {
		t.Errorf("the proxy was asked: %q", p.requests)
	}
}

func TestSettingsThatCannotBeUsedAreRefusedWithoutThePassword(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config dial.Config
		want   string
	}{
		"scheme":         {dial.Config{HTTPSProxy: "socks5://u:secret@proxy:1080"}, "socks5"},
		"no URL":         {dial.Config{HTTPSProxy: "http://u:secret@pro xy:1\x7f"}, "HTTPS_PROXY"},
		"no host":        {dial.Config{HTTPSProxy: "http://u:secret@:3128"}, "names no host"},
		"no file":        {dial.Config{CAFiles: []string{"/does/not/exist"}}, "ca_file"},
		"no certificate": {dial.Config{CAFiles: []string{"proxy_test.go"}}, "holds no certificate"},
	} {
		_, err := dial.New(c.config)
		check(t, name, err, c.want)
		if !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%s: kind %v", name, fault.KindOf(err))
		}
	}
}

func TestTheEnvironmentNamesTheProxy(t *testing.T) {
	p := &proxy{target: greeter(t), want: "me:pass"}
	t.Setenv("HTTPS_PROXY", "http://me:pass@"+serve(t, p.handle))
	t.Setenv("NO_PROXY", "")
	conn, err := dialer(t, dial.Environment()).Dial(t.Context(), "tcp", far)
	if err != nil {
		t.Fatal(err)
	}
	converse(t, conn)
}
