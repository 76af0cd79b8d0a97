package boundary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	chunk = 4 << 20 // bytes looked at together
	// lap is read again with the next chunk: longer than any needle with its place.
	lap = 1 << 10
	// depth is how many compressions within each other are opened.
	depth = 3
	// maxInflated bounds what one compressed stream may give; the rest of it is not looked at, and the report says so.
	maxInflated = 256 << 20
)

// Hit is one place at which a marker was found.
type Hit struct {
	In     string `json:"in"`     // a file, or a region of a process's memory
	Offset int64  `json:"offset"` // in bytes; of the compressed stream when the form names one
	Form   string `json:"form"`   // plain, base64, gzip > plain, …
	Place  string `json:"place"`  // where the marker was put; empty when it could not be read
}

// Searcher looks for one core. It is safe for use by several goroutines, when Found is.
type Searcher struct {
	forms []form
	// Found is told of each hit.
	Found func(Hit)
	// Cut is told of compressed streams that were larger than what is looked at.
	Cut func(in string, offset int64)
}

// NewSearcher looks for markers of core.
func NewSearcher(core Core, found func(Hit)) *Searcher {
	return &Searcher{forms: forms(core), Found: found, Cut: func(string, int64) {}}
}

// Search looks through everything that r gives. A part that cannot be read (a page of memory that is gone) is an error only when
// nothing at all can.
func (s *Searcher) Search(in string, r io.ReaderAt, from, to int64) error {
	buffer := make([]byte, chunk+lap)
	read := false
	var first error
	for at := from; at < to; at += chunk {
		n, err := r.ReadAt(buffer[:min(int64(len(buffer)), to-at)], at)
		if n == 0 {
			if err != nil && !errors.Is(err, io.EOF) && first == nil {
				first = err
			}
			continue
		}
		read = true
		s.look(in, "", buffer[:n], at, chunk)
		s.open(in, "", r, at, to, buffer[:n], depth)
	}
	if !read && first != nil {
		return fmt.Errorf("%s: %w", in, first)
	}
	return nil
}

// look finds needles that begin within the first own bytes of data, which lies at offset.
func (s *Searcher) look(in, within string, data []byte, offset int64, own int) {
	for _, f := range s.forms {
		for start := 0; ; {
			i := bytes.Index(data[start:], f.needle)
			if i < 0 || start+i >= own {
				break
			}
			start += i
			s.Found(Hit{In: in, Offset: offset + int64(start), Form: within + f.name, Place: printable(f.place(data[start:min(len(data), start+lap)]))})
			start++
		}
	}
}

// open looks into every compressed stream that begins within the chunk.
func (s *Searcher) open(in, within string, r io.ReaderAt, at, to int64, data []byte, left int) {
	if left == 0 {
		return
	}
	for _, c := range compressions {
		for start := 0; ; {
			i := bytes.Index(data[start:], c.magic)
			if i < 0 || start+i >= chunk {
				break
			}
			start += i
			offset := at + int64(start)
			s.inflate(in, within+c.name+" > ", c, io.NewSectionReader(r, offset, to-offset), offset, left-1)
			start++
		}
	}
}

// inflate looks through what a compressed stream gives, as far as it can be opened.
func (s *Searcher) inflate(in, within string, c compression, compressed io.Reader, offset int64, left int) {
	plain, err := c.open(compressed)
	if err != nil {
		return // no such stream after all
	}
	defer plain.Close()
	buffer := make([]byte, 0, 64<<10)
	piece := make([]byte, 64<<10)
	var total int64
	for {
		n, err := plain.Read(piece)
		total += int64(n)
		buffer = append(buffer, piece[:n]...)
		if err != nil || len(buffer) >= chunk+lap {
			own := len(buffer)
			if err == nil {
				own = len(buffer) - lap
			}
			s.look(in, within, buffer, offset, own)
			s.open(in, within, bytes.NewReader(buffer), 0, int64(len(buffer)), buffer, left)
			buffer = append(buffer[:0], buffer[own:]...)
		}
		if err != nil {
			return
		}
		if total > maxInflated {
			s.Cut(in, offset)
			return
		}
	}
}

func printable(place string) string {
	if strings.Trim(strings.ToLower(place), letters+"01lo") != "" {
		return ""
	}
	return place
}
