package logs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/data/logs/logstest"
	"biplane.dev/biplane/internal/names"
)

// pumped feeds a Writer through a pipe, as a process does.
type pumped struct {
	writer *logs.Writer
	pipes  map[logs.Stream]*io.PipeWriter
	done   chan error
}

func begin(path string) logstest.Writer {
	p := &pumped{writer: logs.Open(path, logs.Limits{}), pipes: map[logs.Stream]*io.PipeWriter{}, done: make(chan error, 2)}
	for _, stream := range []logs.Stream{logs.Stdout, logs.Stderr} {
		r, w := io.Pipe()
		p.pipes[stream] = w
		go func() { p.done <- p.writer.Pump(stream, r) }()
	}
	return p
}

func (p *pumped) Write(stream logs.Stream, line string) {
	other := logs.Stdout + logs.Stderr - stream
	_, _ = io.WriteString(p.pipes[stream], line+"\n")
	_, _ = p.pipes[other].Write(nil) // two pipes have no order: the line is in when another write comes through
	_, _ = p.pipes[stream].Write(nil)
}

func (p *pumped) Close() {
	for _, w := range p.pipes {
		_ = w.Close()
	}
	for range p.pipes {
		if err := <-p.done; err != nil {
			panic(err)
		}
	}
	p.writer.Close()
}

func TestFile(t *testing.T) {
	t.Parallel()
	logstest.Run(t, func(t *testing.T) logstest.Subject {
		store := logs.NewFile(t.TempDir())
		return logstest.Subject{Store: store, Begin: func(id names.Attempt) logstest.Writer { return begin(store.Path(id)) }}
	})
}

var id = names.Attempt{Action: names.Action{Run: names.Run{Project: names.Project{Org: "o", Project: "p", Domain: "d"}, Name: "r"}, Action: "a0"}, Number: 3}

func read(t *testing.T, store *logs.File) (lines []logs.Line) {
	t.Helper()
	for position := ""; ; {
		page, next, err := store.Read(t.Context(), id, position, 0)
		if err != nil {
			t.Fatal(err)
		}
		if lines = append(lines, page...); len(page) == 0 {
			return lines
		}
		position = next
	}
}

func texts(lines []logs.Line) (texts []string) {
	for _, line := range lines {
		texts = append(texts, line.Text)
	}
	return texts
}

func TestTornFrameIsNeitherReadNorWaitedOn(t *testing.T) {
	t.Parallel()
	store := logs.NewFile(t.TempDir())
	w := logs.Open(store.Path(id), logs.Limits{})
	w.System("whole")
	w.Close()
	file, err := os.OpenFile(store.Path(id), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("1700000000000000000 1 half a li"); err != nil {
		t.Fatal(err)
	}
	lines, position, err := store.Read(t.Context(), id, "", 0)
	if err != nil || len(lines) != 1 {
		t.Fatalf("%v, %v", lines, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := store.Wait(ctx, id, position); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a reader would spin on half a line: %v", err)
	}
	// The next writer, after the crash, goes on in its place.
	w = logs.Open(store.Path(id), logs.Limits{})
	w.System("after")
	w.Close()
	if lines, _, err = store.Read(t.Context(), id, position, 0); err != nil || len(lines) != 1 || lines[0].Text != "after" {
		t.Fatalf("%v, %v", lines, err)
	}
}

func TestLongLinesAreSplitBetweenCharacters(t *testing.T) {
	t.Parallel()
	store := logs.NewFile(t.TempDir())
	w := logs.Open(store.Path(id), logs.Limits{Line: 10})
	text := strings.Repeat("aé", 100) + "\n" + strings.Repeat("b", 10) + "\n\nlast"
	if err := w.Pump(logs.Stdout, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got := texts(read(t, store))
	for _, piece := range got {
		if len(piece) > 10 || strings.Contains(piece, "\uFFFD") {
			t.Fatalf("piece %q", piece)
		}
	}
	if tail := got[len(got)-3:]; strings.Join(got, "") != strings.ReplaceAll(text, "\n", "") || tail[0] != "bbbbbbbbbb" || tail[1] != "" || tail[2] != "last" {
		t.Fatalf("%q", got)
	}
}

func TestOverTheLimit(t *testing.T) {
	t.Parallel()
	store := logs.NewFile(t.TempDir())
	w := logs.Open(store.Path(id), logs.Limits{Bytes: 1000})
	var input strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&input, "%0100d\n", i)
	}
	input.WriteString("short\n") // would fit, but then the log had a hole
	if err := w.Pump(logs.Stdout, strings.NewReader(input.String())); err != nil {
		t.Fatal(err)
	}
	w.System("out of memory")
	summary := w.Close()
	lines := read(t, store)
	kept := len(lines) - 2
	if kept < 1 || kept > 10 || lines[kept].Text != "out of memory" || lines[kept+1].Stream != logs.System {
		t.Fatalf("%v", lines)
	}
	if want := fmt.Sprintf("the log reached its limit of 1000 bytes: %d more lines (%d bytes) were dropped", 1001-kept, 100*(1000-kept)+5); lines[kept+1].Text != want {
		t.Fatalf("%q, want %q", lines[kept+1].Text, want)
	}
	if summary.DroppedLines != int64(1001-kept) || summary.Bytes == 0 {
		t.Fatalf("%+v", summary)
	}
}

func TestALogThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	store := logs.NewFile(root)
	blocked := filepath.Join(root, "o")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil { // a file where a folder should be
		t.Fatal(err)
	}
	w := logs.Open(store.Path(id), logs.Limits{})
	w.System("one")
	w.System("two")
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	w.System("three")
	summary := w.Close()
	got := texts(read(t, store))
	if len(got) != 2 || !strings.HasPrefix(got[0], "2 lines (6 bytes) are missing here") || strings.Contains(got[0], root) || got[1] != "three" {
		t.Fatalf("%q", got)
	}
	if summary.DroppedLines != 2 || summary.DroppedBytes != 6 {
		t.Fatalf("%+v", summary)
	}
}

func TestForeignBytesInALogAreSkipped(t *testing.T) {
	t.Parallel()
	store := logs.NewFile(t.TempDir())
	w := logs.Open(store.Path(id), logs.Limits{})
	w.System("before")
	w.Close()
	file, err := os.OpenFile(store.Path(id), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("no frame\n\n" + strings.Repeat("x", 30) + "\n"); err != nil {
		t.Fatal(err)
	}
	w = logs.Open(store.Path(id), logs.Limits{})
	w.System("after")
	w.Close()
	if got := texts(read(t, store)); len(got) != 2 || got[1] != "after" {
		t.Fatalf("%q", got)
	}
}

func TestWaitingOnADeletedLogEnds(t *testing.T) {
	t.Parallel()
	store := logs.NewFile(t.TempDir())
	w := logs.Open(store.Path(id), logs.Limits{})
	w.System("one")
	w.Close()
	_, position, err := store.Read(t.Context(), id, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- store.Wait(t.Context(), id, position) }()
	if err := store.Delete(t.Context(), id.Run); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func BenchmarkPump(b *testing.B) {
	line := strings.Repeat("x", 80) + "\n"
	b.SetBytes(int64(len(line)))
	w := logs.Open(filepath.Join(b.TempDir(), "log"), logs.Limits{Bytes: 1 << 40})
	if err := w.Pump(logs.Stdout, io.LimitReader(repeat(line), int64(b.N*len(line)))); err != nil {
		b.Fatal(err)
	}
	w.Close()
}

type repeat string

func (r repeat) Read(p []byte) (n int, err error) {
	for n+len(r) <= len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}
