package boundary

import (
	"compress/gzip"
	"compress/zlib"
	"io"

	"github.com/klauspost/compress/zstd"
)

// compression is a kind of stream that says what it is by its first bytes. Raw deflate does not, so it cannot be found.
type compression struct {
	name  string
	magic []byte
	open  func(io.Reader) (io.ReadCloser, error)
}

var compressions = []compression{
	{"gzip", []byte{0x1f, 0x8b, 8}, func(r io.Reader) (io.ReadCloser, error) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		z.Multistream(false) // the next one is found by its own magic
		return z, nil
	}},
	{"zlib", []byte{0x78, 0x01}, zlib.NewReader},
	{"zlib", []byte{0x78, 0x5e}, zlib.NewReader},
	{"zlib", []byte{0x78, 0x9c}, zlib.NewReader},
	{"zlib", []byte{0x78, 0xda}, zlib.NewReader},
	{"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}, func(r io.Reader) (io.ReadCloser, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}},
}
