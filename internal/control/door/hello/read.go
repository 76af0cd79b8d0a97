package hello

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// Reason is why there is no ClientHello. The values are labels of a metric.
type Reason string

// The reasons.
const (
	Gone      Reason = "gone"       // the client closed or reset the connection
	TooSlow   Reason = "too_slow"   // it was not there in time
	TooLarge  Reason = "too_large"  // it is larger than allowed
	PlainHTTP Reason = "plain_http" // the client speaks HTTP without TLS
	NotTLS    Reason = "not_tls"    // the client speaks something else
	Malformed Reason = "malformed"  // it cannot be read
)

// Error says why there is no ClientHello.
type Error struct {
	Reason Reason
	Cause  error
}

func (e *Error) Error() string { return fmt.Sprintf("no ClientHello (%s): %v", e.Reason, e.Cause) }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

const (
	recordHeader = 5
	recordBody   = 1 << 14 // bytes of a record that is not encrypted
	usualHello   = 2 << 10
)

// Read reads the ClientHello, however it is cut into records and segments, until the given time: at most limit bytes,
// and none that follow its last record. It leaves the connection without a read deadline. The error is an *Error.
func Read(conn net.Conn, limit int, until time.Time) (*Hello, error) {
	if err := conn.SetReadDeadline(until); err != nil {
		return nil, &Error{Gone, err}
	}
	r := reader{conn: conn, limit: limit, raw: make([]byte, 0, min(usualHello, limit))}
	message, err := r.message()
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, &Error{Gone, err}
	}
	h, err := Parse(message)
	if err != nil {
		return nil, &Error{Malformed, err}
	}
	h.Raw = r.raw
	return h, nil
}

type reader struct {
	conn  net.Conn
	limit int
	raw   []byte
}

// message gathers the handshake message from as many records as it is in.
func (r *reader) message() ([]byte, error) {
	var message []byte
	for {
		header, err := r.next(recordHeader)
		if err != nil {
			return nil, err
		}
		size := int(header[3])<<8 | int(header[4])
		first := len(r.raw) == recordHeader
		switch {
		case first && (header[0] != recordHandshake || header[1] != 3):
			return nil, stranger(header)
		case header[0] != recordHandshake || header[1] != 3 || size == 0 || size > recordBody:
			return nil, &Error{Malformed, errors.New("a record that cannot be part of a ClientHello")}
		}
		body, err := r.next(size)
		if err != nil {
			return nil, err
		}
		if first {
			message = body[:len(body):len(body)] // most are in one record
		} else {
			message = append(message, body...)
		}
		if len(message) < 4 {
			continue
		}
		if message[0] != typeClientHello {
			return nil, &Error{Malformed, fmt.Errorf("the first message is of type %d", message[0])}
		}
		whole := 4 + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
		if whole > r.limit-recordHeader {
			return nil, &Error{TooLarge, fmt.Errorf("it has %d bytes; at most %d are read", whole, r.limit)}
		}
		if len(message) >= whole {
			return message[:whole], nil // what is behind it in its record is for whoever ends the TLS to refuse
		}
	}
}

// next reads n bytes more. The result is valid until the next call.
func (r *reader) next(n int) ([]byte, error) {
	from := len(r.raw)
	if from+n > r.limit {
		return nil, &Error{TooLarge, fmt.Errorf("at most %d bytes are read", r.limit)}
	}
	if from+n > cap(r.raw) {
		r.raw = append(make([]byte, 0, max(from+n, min(2*cap(r.raw), r.limit))), r.raw...)
	}
	r.raw = r.raw[:from+n]
	_, err := io.ReadFull(r.conn, r.raw[from:])
	switch {
	case err == nil:
		return r.raw[from:], nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &Error{TooSlow, err}
	default:
		return nil, &Error{Gone, err}
	}
}

// stranger says what a client speaks that does not begin as TLS does.
func stranger(first []byte) error {
	for _, method := range []string{"GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "PATCH ", "PRI ", "CONNECT ", "TRACE "} {
		if strings.HasPrefix(method, string(first)) || strings.HasPrefix(string(first), method) {
			return &Error{PlainHTTP, errors.New("HTTP without TLS")}
		}
	}
	return &Error{NotTLS, errors.New("not TLS")}
}
