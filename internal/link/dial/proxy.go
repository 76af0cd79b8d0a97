package dial

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
	"net/url"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// maxAnswer bounds the head of a proxy's answer, in bytes.
const maxAnswer = 32 << 10

// through opens a tunnel to the address with CONNECT.
func (d *Dialer) through(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	conn, err := d.net.DialContext(ctx, "tcp", at(proxy))
	if err != nil {
		return nil, fault.Wrap(err, fault.KindUnavailable, "the proxy %s (from HTTPS_PROXY) cannot be reached: %v", proxy.Host, err)
	}
	if proxy.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.roots, ServerName: proxy.Hostname(), NextProtos: []string{"http/1.1"}})
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, proxyHandshake(ctx, proxy, err)
		}
		conn = secure
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	rest, err := request(conn, proxy, address)
	if !release() && err == nil {
		err = fault.Wrap(context.Cause(ctx), fault.KindUnavailable, "the dial was given up")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, fault.Wrap(err, fault.KindUnavailable, "the proxy %s closed the connection", proxy.Host)
	}
	if len(rest) > 0 {
		return &early{Conn: conn, rest: rest}, nil
	}
	return conn, nil
}

func at(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		if port = "80"; proxy.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// request asks for the tunnel, and returns what came behind the proxy's answer already.
func request(conn net.Conn, proxy *url.URL, address string) (rest []byte, err error) {
	head := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, fault.Wrap(err, fault.KindUnavailable, "the proxy %s closed the connection", proxy.Host)
	}
	limited := &io.LimitedReader{R: conn, N: maxAnswer}
	reader := bufio.NewReader(limited)
	answer, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		if errors.Is(err, io.EOF) || isTimeout(err) {
			return nil, fault.Wrap(err, fault.KindUnavailable, "the proxy %s did not answer the request for %s", proxy.Host, address)
		}
		return nil, fault.Wrap(err, fault.KindUnavailable, "what answers at %s (from HTTPS_PROXY) is not an HTTP proxy", proxy.Host)
	}
	if answer.StatusCode/100 != 2 {
		answer.Body.Close()
		return nil, refusal(proxy, address, answer.StatusCode)
	}
	// A success has no body, whatever its header says: what follows is the other end's.
	rest = make([]byte, reader.Buffered())
	_, err = io.ReadFull(reader, rest)
	return rest, err
}

func refusal(proxy *url.URL, address string, status int) error {
	switch {
	case status == http.StatusProxyAuthRequired && proxy.User == nil:
		return fault.New(fault.KindDenied, "the proxy %s refused with 407: set user and password in HTTPS_PROXY (http://user:password@host:port)", proxy.Host)
	case status == http.StatusProxyAuthRequired:
		return fault.New(fault.KindDenied, "the proxy %s refused with 407: it does not take the user and password in HTTPS_PROXY; it must offer Basic authentication", proxy.Host)
	case status == http.StatusForbidden || status == http.StatusMethodNotAllowed || status == http.StatusUnavailableForLegalReasons:
		return fault.New(fault.KindDenied, "the proxy %s refused with %d: it must allow CONNECT to %s", proxy.Host, status, address)
	case status >= 500:
		return fault.New(fault.KindUnavailable, "the proxy %s could not reach %s (it answered %d)", proxy.Host, address, status)
	default:
		return fault.New(fault.KindUnavailable, "the proxy %s refused CONNECT to %s with %d", proxy.Host, address, status)
	}
}

func proxyHandshake(ctx context.Context, proxy *url.URL, err error) error {
	var unknown *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return fault.Wrap(err, fault.KindDenied, "the certificate of the proxy %s cannot be trusted (%v); give the authority's certificate as a CA file", proxy.Host, unknown.Err)
	case errors.As(err, &record):
		return fault.Wrap(err, fault.KindDenied, "the proxy %s does not speak TLS; write http:// in HTTPS_PROXY", proxy.Host)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return fault.Wrap(err, fault.KindUnavailable, "the proxy %s broke the TLS handshake: %v", proxy.Host, err)
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// early is a connection some bytes of which were read with the proxy's answer.
type early struct {
	net.Conn
	rest []byte // by the reader only
}

func (c *early) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends the sending half.
func (c *early) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("half-close: %w", errors.ErrUnsupported)
	}
	return half.CloseWrite()
}
