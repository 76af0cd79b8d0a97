package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFirstProgramIsTheExample(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../../examples/hello/hello.py")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(example, hello) {
		t.Error("internal/demo/examples/hello.py is not examples/hello/hello.py: copy it")
	}
}

func TestStateIsOfOneDemo(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "state")
	first := &demo{Options: Options{State: folder}}
	if err := first.openState(); err != nil {
		t.Fatal(err)
	}
	second := &demo{Options: Options{State: folder}}
	if err := second.openState(); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("a second demo: %v", err)
	}
	if err := first.closeState(); err != nil {
		t.Fatal(err)
	}
	third := &demo{Options: Options{State: folder}}
	if err := third.openState(); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
	if err := third.closeState(); err != nil {
		t.Error(err)
	}
}

func TestVersionOfState(t *testing.T) {
	t.Parallel()
	for content, word := range map[string]string{"": "", "1\n": "", "2\n": "newer biplane", "x\n": "is not a demo's state folder"} {
		d := &demo{Options: Options{State: t.TempDir()}}
		if err := os.WriteFile(d.folder("version"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := d.checkVersion()
		if word == "" && err != nil || word != "" && (err == nil || !strings.Contains(err.Error(), word)) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// A demo waits for the planes of one that was killed, which hold a lock that they inherited.
func TestPredecessor(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	old := &demo{Options: Options{State: folder, Err: &bytes.Buffer{}}}
	if err := old.awaitPredecessor(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1)
	next := &demo{Options: Options{State: folder, Err: tell(told)}}
	done := make(chan error, 1)
	go func() { done <- next.awaitPredecessor(t.Context()) }()
	if text := <-told; !strings.Contains(text, "waiting") {
		t.Errorf("it said %q", text)
	}
	if err := old.alive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := next.alive.Close(); err != nil {
		t.Error(err)
	}
}

type tell chan string

func (t tell) Write(p []byte) (int, error) {
	t <- string(p)
	return len(p), nil
}
