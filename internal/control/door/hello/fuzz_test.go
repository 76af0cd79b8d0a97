package hello_test

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/control/door/hello"
)

// theirs is what crypto/tls makes of a hello; nil when it refuses it.
func theirs(message []byte) *tls.ClientHelloInfo {
	var seen *tls.ClientHelloInfo
	var sent []byte
	for rest := message; len(rest) > 0; {
		n := min(len(rest), 1<<14)
		sent, rest = append(sent, record(rest[:n])...), rest[n:]
	}
	server := tls.Server(&silent{conn{chunks: [][]byte{sent}}}, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = info
		return nil, errors.New("seen")
	}})
	if err := server.Handshake(); err == nil {
		panic("a handshake with nobody")
	}
	return seen
}

// silent takes what is written to it.
type silent struct{ conn }

func (*silent) Write(p []byte) (int, error)      { return len(p), nil }
func (*silent) SetWriteDeadline(time.Time) error { return nil }
func (*silent) Close() error                     { return nil }

// FuzzParse: what crypto/tls accepts is accepted here and says the same. The other way round need not hold: crypto/tls
// looks at more of it.
func FuzzParse(f *testing.F) {
	for _, config := range []*tls.Config{
		{ServerName: "Plane.Org.Example.com", NextProtos: []string{"h2", "http/1.1"}},
		{InsecureSkipVerify: true},
		{ServerName: "x", MaxVersion: tls.VersionTLS12},
	} {
		raw := clientHello(f, config)
		f.Add(raw[5:])
		f.Add(extended(raw, 0xfe0d, []byte{0, 1, 2})[5:])
		f.Add(extended(raw, 0, []byte{0, 4, 0, 0, 1, 'y'})[5:])
		f.Add(extended(raw, 16, []byte{0, 3, 2, 'h', '2'})[5:])
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) < 4 || len(message) > 16<<10 {
			return
		}
		size := len(message) - 4
		message[0], message[1], message[2], message[3] = 1, 0, byte(size>>8), byte(size)
		want := theirs(message)
		got, err := hello.Parse(message)
		switch {
		case want == nil:
			return
		case err != nil:
			t.Fatalf("crypto/tls reads name %q, protocols %q; here: %v", want.ServerName, want.SupportedProtos, err)
		case got.ServerName != strings.ToLower(want.ServerName) || !slices.Equal(got.Protocols, want.SupportedProtos) || got.ECH != slices.Contains(want.Extensions, 0xfe0d):
			t.Fatalf("crypto/tls reads name %q, protocols %q, extensions %v; here: %+v", want.ServerName, want.SupportedProtos, want.Extensions, got)
		}
	})
}
