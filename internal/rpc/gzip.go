package rpc

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"sync"

	"connectrpc.com/connect"
)

// An inflater reads gzip and gives at most so many bytes of it: the next one is an error, at once, without inflating
// the rest. connect-go's own limit inflates the rest to tell its size, which is what a bomb wants.
type inflater struct {
	source *bufio.Reader
	gzip   gzip.Reader
	limit  int64 // bytes of a message
	left   int64 // of this message
}

var inflaters = sync.Pool{New: func() any { return newInflater(0) }}

func newInflater(limit int64) *inflater {
	return &inflater{source: bufio.NewReader(http.NoBody), limit: limit}
}

// peek starts a message that may be gzip: when it does not begin like it, its bytes are given as they are.
func (i *inflater) peek(wire io.Reader, limit int64) io.Reader {
	i.source.Reset(wire)
	i.limit, i.left = limit, limit
	return &peeked{inflater: i}
}

// peeked puts off the first look at the wire to the first read, where an error can be told.
type peeked struct {
	*inflater
	reader io.Reader
}

func (p *peeked) Read(b []byte) (int, error) {
	if p.reader == nil {
		magic, err := p.source.Peek(2)
		var coded *connect.Error
		if errors.As(err, &coded) {
			return 0, err
		}
		p.reader = plain{p.inflater}
		if len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
			if err := p.gzip.Reset(p.source); err != nil {
				return 0, damaged(unexpected(err))
			}
			p.reader = p.inflater
		}
	}
	return p.reader.Read(b)
}

// Reset and Close make it a connect.Decompressor, used for messages in envelopes.
func (i *inflater) Reset(wire io.Reader) error {
	i.source.Reset(wire)
	i.left = i.limit
	if wire == http.NoBody {
		return nil // connect-go's way of saying: forget the last one
	}
	return damaged(unexpected(i.gzip.Reset(i.source)))
}

// Close has nothing to do: an inflater holds memory only.
func (i *inflater) Close() error { return nil }

// idle drops the reference to the last message.
func (i *inflater) idle() { i.source.Reset(http.NoBody) }

func (i *inflater) Read(b []byte) (int, error) {
	n, err := i.bounded(&i.gzip, b)
	return n, damaged(err)
}

// plain reads the source as it is, within the same limit.
type plain struct{ *inflater }

func (p plain) Read(b []byte) (int, error) { return p.bounded(p.source, b) }

func (i *inflater) bounded(reader io.Reader, b []byte) (int, error) {
	if int64(len(b)) > i.left+1 {
		b = b[:i.left+1]
	}
	n, err := reader.Read(b)
	if i.left -= int64(n); i.left < 0 {
		return 0, tooLarge(i.limit)
	}
	return n, err
}

// unexpected makes an end within gzip's header what it is.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func isCorrupt(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.As(err, &corrupt)
}

// newDeflater compresses for speed: a response goes to a machine near by, or through a tunnel that is not the bottleneck.
func newDeflater() connect.Compressor {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is a valid one
	return w
}
