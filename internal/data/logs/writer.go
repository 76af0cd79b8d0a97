package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// Limits bound one attempt's log.
type Limits struct {
	// Bytes is the size of the file at which further lines of the process are counted and no longer kept. 0 is DefaultBytes.
	Bytes int64
	// Line is the length in bytes at which a longer line is split. 0 is DefaultLine; more than MaxLine counts as MaxLine.
	Line int
}

// What a zero in Limits means, and the longest line that readers accept.
const (
	DefaultBytes = 100 << 20
	DefaultLine  = 64 << 10
	MaxLine      = 256 << 10
)

const (
	systemReserve = 64 << 10  // room beyond Limits.Bytes for the plane's own lines
	readChunk     = 64 << 10  // what Pump asks of a pipe at once: a pipe's size on Linux
	flushAt       = 256 << 10 // frames gathered before a write
)

// Summary says what a closed log holds and what it lacks.
type Summary struct {
	Bytes        int64 `json:"bytes"`
	DroppedLines int64 `json:"droppedLines,omitempty"`
	DroppedBytes int64 `json:"droppedBytes,omitempty"`
}

// Writer writes one attempt's log. There is one writer of a file at a time; readers need no lock.
//
// A writer never fails: a process must not die because its log has no room. What cannot be written is counted, and a System
// line says so at the place of the gap as soon as there is room again.
type Writer struct {
	path   string
	limits Limits

	mu     sync.Mutex
	file   *os.File // nil while it could not be opened
	end    int64    // end of the last whole frame
	buffer []byte   // frames not yet written
	full   bool     // Limits.Bytes is reached
	over   dropped  // because of Limits.Bytes
	gap    dropped  // because writing failed, not told yet
	why    error    // of the gap
	total  dropped
}

type dropped struct{ lines, bytes int64 }

func (d *dropped) add(lines, bytes int64) { d.lines += lines; d.bytes += bytes }

// Open begins the log in the file path, or goes on with one that is there. A file that cannot be opened now is tried again
// with every write.
func Open(path string, limits Limits) *Writer {
	if limits.Bytes <= 0 {
		limits.Bytes = DefaultBytes
	}
	if limits.Line <= 0 {
		limits.Line = DefaultLine
	}
	limits.Line = min(limits.Line, MaxLine)
	w := &Writer{path: path, limits: limits}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.open() // tried again by the first line, which is then counted
	return w
}

// Pump copies what r gives, line by line as it comes, until r ends.
func (w *Writer) Pump(stream Stream, r io.Reader) error {
	buffer := make([]byte, 0, w.limits.Line+readChunk)
	for {
		n, err := r.Read(buffer[len(buffer) : len(buffer)+readChunk])
		data := buffer[:len(buffer)+n]
		rest := w.lines(stream, data, err != nil)
		buffer = buffer[:copy(buffer[:cap(buffer)], rest)]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lines keeps the whole lines at the beginning of data and returns the rest, which is at most Limits.Line long.
func (w *Writer) lines(stream Stream, data []byte, last bool) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for {
		end := bytes.IndexByte(data, '\n')
		switch {
		case end > w.limits.Line || end < 0 && len(data) > w.limits.Line:
			// A program that never ends its line (a progress bar) is still seen, in pieces.
			piece := cut(data, w.limits.Line)
			w.add(now, stream, piece)
			data = data[len(piece):]
			continue
		case end >= 0:
			w.add(now, stream, data[:end])
			data = data[end+1:]
			continue
		case last && len(data) > 0:
			w.add(now, stream, data)
			data = nil
		}
		w.flush()
		return data
	}
}

// cut is the beginning of data, at most limit long, that does not end within a character.
func cut(data []byte, limit int) []byte {
	for n := limit; n > limit-utf8.UTFMax && n > 0; n-- {
		if utf8.RuneStart(data[n]) {
			return data[:n]
		}
	}
	return data[:limit]
}

// System writes a line of the plane itself. It has room beyond the limit.
func (w *Writer) System(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(time.Now(), System, fmt.Appendf(nil, format, args...))
	w.flush()
}

func (w *Writer) add(at time.Time, stream Stream, text []byte) {
	limit := w.limits.Bytes
	if stream == System {
		limit += systemReserve
		text = bytes.ReplaceAll(text[:min(len(text), w.limits.Line)], []byte("\n"), []byte(" "))
	} else if w.full {
		w.over.add(1, int64(len(text)))
		return
	}
	if w.end+int64(len(w.buffer)+len(text)+frameExtra) > limit {
		// From the first line that does not fit none is kept: the log is a beginning without holes.
		w.full = true
		w.over.add(1, int64(len(text)))
		return
	}
	w.buffer = appendFrame(w.buffer, at, stream, text)
	if len(w.buffer) >= flushAt {
		w.flush()
	}
}

func (w *Writer) flush() {
	if len(w.buffer) == 0 {
		return
	}
	frames := w.buffer
	w.buffer = w.buffer[:0]
	if w.gap.lines > 0 && !w.tellGap() {
		w.lose(frames)
		return
	}
	if written, err := w.put(frames); err != nil {
		w.why = err
		w.lose(frames[written:])
	}
}

func (w *Writer) lose(frames []byte) {
	lines := int64(bytes.Count(frames, []byte("\n")))
	w.gap.add(lines, int64(len(frames))-lines*frameExtra)
}

// tellGap writes the line that stands for what is missing; false when there is no room for it either.
func (w *Writer) tellGap() bool {
	text := fmt.Appendf(nil, "%d lines (%d bytes) are missing here: %s", w.gap.lines, w.gap.bytes, reason(w.why))
	if _, err := w.put(appendFrame(nil, time.Now(), System, text)); err != nil {
		return false
	}
	w.total.add(w.gap.lines, w.gap.bytes)
	w.gap = dropped{}
	return true
}

// reason says why a write failed without the path of the file, which is no business of the log's reader.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return "the log could not be written: " + errno.Error()
	}
	return "the log could not be written"
}

// put appends frames and returns how many bytes of whole ones are in the file now.
func (w *Writer) put(frames []byte) (int, error) {
	if err := w.open(); err != nil {
		return 0, err
	}
	n, err := w.file.WriteAt(frames, w.end)
	if err == nil {
		w.end += int64(n)
		return n, nil
	}
	whole := wholeFrames(frames[:n])
	w.end += int64(whole)
	// The beginning of a frame must not stay in front of the next one. This needs no room on the disk.
	return whole, errors.Join(err, w.file.Truncate(w.end))
}

func (w *Writer) open() error {
	if w.file != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(w.path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	end, err := wholeEnd(file)
	if err == nil {
		err = file.Truncate(end)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	w.file, w.end = file, end
	return nil
}

// wholeEnd is the end of the last whole frame of a file, whose writer may have died within one.
func wholeEnd(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	from := max(0, info.Size()-MaxLine-frameExtra)
	tail := make([]byte, info.Size()-from)
	n, err := file.ReadAt(tail, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return from + int64(wholeFrames(tail[:n])), nil
}

// Close writes what is to be said of dropped lines and closes the file.
func (w *Writer) Close() Summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
	if w.gap.lines > 0 {
		w.tellGap()
	}
	if w.over.lines > 0 {
		text := fmt.Appendf(nil, "the log reached its limit of %d bytes: %d more lines (%d bytes) were dropped", w.limits.Bytes, w.over.lines, w.over.bytes)
		_, _ = w.put(appendFrame(nil, time.Now(), System, text)) // the summary says it too
	}
	if w.file != nil {
		_ = w.file.Close() // nothing is buffered in it
		w.file = nil
	}
	w.total.add(w.over.lines+w.gap.lines, w.over.bytes+w.gap.bytes)
	return Summary{Bytes: w.end, DroppedLines: w.total.lines, DroppedBytes: w.total.bytes}
}
