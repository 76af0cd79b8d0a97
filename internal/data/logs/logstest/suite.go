package logstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Writer is what the process side of an implementation offers to the suite.
type Writer interface {
	Write(stream logs.Stream, line string)
	Close()
}

// Subject is an implementation under test: an empty store, and a way to write into it.
type Subject struct {
	Store logs.Store
	Begin func(id names.Attempt) Writer
}

const patience = 30 * time.Second

func attempt(run, action string, number uint32) names.Attempt {
	project := names.Project{Org: names.Org, Project: "p", Domain: "d"}
	return names.Attempt{Action: names.Action{Run: names.Run{Project: project, Name: run}, Action: action}, Number: number}
}

// Run runs the suite; open makes a fresh subject.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Run("a log that was not begun", func(t *testing.T) {
		t.Parallel()
		s, id := open(t), attempt("r", "a0", 1)
		if s.Store.Exists(t.Context(), id) {
			t.Fatal("it exists")
		}
		if _, _, err := s.Store.Read(t.Context(), id, "", 10); !fault.Is(err, fault.KindNotFound) {
			t.Fatalf("%v", err)
		}
		s.Begin(id).Close()
		if !s.Store.Exists(t.Context(), id) {
			t.Fatal("it does not exist after it was begun")
		}
		if lines, _, err := s.Store.Read(t.Context(), id, "", 10); err != nil || len(lines) != 0 {
			t.Fatalf("%v, %v", lines, err)
		}
	})
	t.Run("lines come back in order, in pages of any size", func(t *testing.T) {
		t.Parallel()
		s, id := open(t), attempt("r", "a0", 1)
		w := s.Begin(id)
		before := time.Now().Add(-time.Second)
		for i := range 100 {
			w.Write(logs.Stream(1+i%2), fmt.Sprintf("line %d", i))
		}
		w.Close()
		for _, page := range []int{1, 7, 100, 1000} {
			n := 0
			for position := ""; ; {
				lines, next, err := s.Store.Read(t.Context(), id, position, page)
				if err != nil || len(lines) > page {
					t.Fatalf("%d lines, %v", len(lines), err)
				}
				if len(lines) == 0 {
					if next != position {
						t.Fatalf("the position moves at the end, from %q to %q", position, next)
					}
					break
				}
				for _, line := range lines {
					if line.Text != fmt.Sprintf("line %d", n) || line.Stream != logs.Stream(1+n%2) || line.At.Before(before) {
						t.Fatalf("line %d is %+v", n, line)
					}
					n++
				}
				position = next
			}
			if n != 100 {
				t.Fatalf("%d lines in pages of %d", n, page)
			}
		}
	})
	t.Run("text that is not UTF-8 is mended", func(t *testing.T) {
		t.Parallel()
		s, id := open(t), attempt("r", "a0", 1)
		w := s.Begin(id)
		w.Write(logs.Stdout, "a\xffb\x00 é")
		w.Close()
		lines, _, err := s.Store.Read(t.Context(), id, "", 10)
		if err != nil || len(lines) != 1 || lines[0].Text != "a\uFFFDb\x00 é" {
			t.Fatalf("%q, %v", lines, err)
		}
	})
	t.Run("many wait and all see every line as it comes", func(t *testing.T) {
		t.Parallel()
		s, id := open(t), attempt("r", "a0", 1)
		const count = 2000
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var readers sync.WaitGroup
		for range 8 {
			readers.Go(func() {
				n := 0
				for position := ""; n < count; {
					if err := s.Store.Wait(ctx, id, position); err != nil {
						t.Errorf("after %d lines: %v", n, err)
						return
					}
					lines, next, err := s.Store.Read(ctx, id, position, 0)
					if err != nil {
						t.Error(err)
						return
					}
					for _, line := range lines {
						if line.Text != fmt.Sprint(n) {
							t.Errorf("line %d is %q", n, line.Text)
							return
						}
						n++
					}
					position = next
				}
			})
		}
		w := s.Begin(id)
		for i := range count {
			w.Write(logs.Stdout, fmt.Sprint(i))
		}
		w.Close()
		readers.Wait()
	})
	t.Run("waiting ends with its context", func(t *testing.T) {
		t.Parallel()
		s, id := open(t), attempt("r", "a0", 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Store.Wait(ctx, id, "") }()
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("it still waits")
		}
	})
	t.Run("positions that no read returned", func(t *testing.T) {
		t.Parallel()
		s, id := open(t), attempt("r", "a0", 1)
		w := s.Begin(id)
		w.Write(logs.Stdout, "one")
		w.Close()
		for _, position := range []string{"x", "-1", "1e3", "../..", "99999999999999999999"} {
			if _, _, err := s.Store.Read(t.Context(), id, position, 10); !fault.Is(err, fault.KindInvalid) {
				t.Errorf("read at %q: %v", position, err)
			}
			if err := s.Store.Wait(t.Context(), id, position); !fault.Is(err, fault.KindInvalid) {
				t.Errorf("wait at %q: %v", position, err)
			}
		}
	})
	t.Run("deleting a run takes its logs and no others", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		gone, kept := []names.Attempt{attempt("r", "a0", 1), attempt("r", "a0", 2), attempt("r", "b", 1)}, attempt("r2", "a0", 1)
		for _, id := range append(gone, kept) {
			w := s.Begin(id)
			w.Write(logs.Stdout, "x")
			w.Close()
		}
		for range 2 {
			if err := s.Store.Delete(t.Context(), gone[0].Run); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range gone {
			if s.Store.Exists(t.Context(), id) {
				t.Fatalf("%v exists", id)
			}
		}
		if !s.Store.Exists(t.Context(), kept) {
			t.Fatal("another run's log is gone")
		}
	})
	t.Run("names that lead elsewhere", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		for _, bad := range []string{"", "..", "a/b", "a\x00"} {
			id := attempt("r", bad, 1)
			if _, _, err := s.Store.Read(t.Context(), id, "", 10); !fault.Is(err, fault.KindInvalid) {
				t.Errorf("read %q: %v", bad, err)
			}
			if err := s.Store.Delete(t.Context(), attempt(bad, "a0", 1).Run); !fault.Is(err, fault.KindInvalid) {
				t.Errorf("delete %q: %v", bad, err)
			}
			if s.Store.Exists(t.Context(), id) {
				t.Errorf("%q exists", bad)
			}
		}
	})
}
