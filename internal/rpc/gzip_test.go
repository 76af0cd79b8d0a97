package rpc

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"connectrpc.com/connect"
)

// counting tells how much of a source was asked for.
type counting struct {
	io.Reader
	read int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += int64(n)
	return n, err
}

// A message over the limit is refused without inflating the rest of it: that is what a bomb is for.
func TestInflaterStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	const limit, members = 1 << 20, 256
	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	if _, err := w.Write(make([]byte, limit)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	packed := bytes.Repeat(member.Bytes(), members)
	i := newInflater(limit)
	for range 2 { // the second time as connect-go uses it again
		source := &counting{Reader: bytes.NewReader(packed)}
		if err := i.Reset(source); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, i)
		var coded *connect.Error
		if !errors.As(err, &coded) || coded.Code() != connect.CodeResourceExhausted {
			t.Fatalf("error %v", err)
		}
		if n > limit {
			t.Errorf("%d bytes came out, limit %d", n, limit)
		}
		if source.read > int64(2*member.Len()+8<<10) {
			t.Errorf("%d of %d packed bytes were read", source.read, len(packed))
		}
	}
}
