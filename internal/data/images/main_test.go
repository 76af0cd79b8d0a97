package images_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/images"
	"biplane.dev/biplane/internal/fault"
)

// helperVar makes the test binary act as another plane's process that builds the base environment and nothing else.
const helperVar = "BIPLANE_IMAGES_TEST_HELPER"

func TestMain(m *testing.M) {
	if config := os.Getenv(helperVar); config != "" {
		cache, uv, _ := strings.Cut(config, "|")
		store, err := images.Open(images.Config{Cache: cache, UV: uv})
		if err == nil {
			_, err = store.Base(context.Background(), nil)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if folder, err := uploads(); err == nil {
		_ = os.RemoveAll(folder)
	}
	os.Exit(code)
}

// realCache is kept from one test run to the next, so that only the first one downloads.
func realCache(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("BIPLANE_TEST_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "biplane-test")
}

// realStore builds with the real uv from the real index.
func realStore(t *testing.T) *images.Store {
	t.Helper()
	return open(t, images.Config{State: t.TempDir(), Cache: realCache(t)})
}

func open(t *testing.T, config images.Config) *images.Store {
	t.Helper()
	store, err := images.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// transcript collects progress.
type transcript struct {
	mu    sync.Mutex
	lines []string
}

func (r *transcript) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

func (r *transcript) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// fakeUV is a uv that installs nothing, quickly, and notes how it was called. While the file hold exists, an install waits
// in a process of its own until something is written to the pipe gate.
type fakeUV struct {
	program string
	log     string
	hold    string
	gate    string
	fail    string
}

func newFakeUV(t testing.TB) fakeUV {
	t.Helper()
	dir := t.TempDir()
	f := fakeUV{
		program: filepath.Join(dir, "uv"), log: filepath.Join(dir, "log"), hold: filepath.Join(dir, "hold"),
		gate: filepath.Join(dir, "gate"), fail: filepath.Join(dir, "fail"),
	}
	script := fmt.Sprintf(`#!/bin/sh
echo "$@" >> '%[1]s'
case "$1" in
venv)
	for path; do :; done
	mkdir -p "$path/bin"
	printf '#!/bin/sh\nexit 0\n' > "$path/bin/python"
	chmod +x "$path/bin/python"
	;;
pip)
	if [ -e '%[2]s' ]; then (echo 'waiting for the gate' >> '%[1]s'; read -r line < '%[3]s'); fi
	if [ -e '%[4]s' ]; then cat '%[4]s' >&2; exit 1; fi
	;;
esac
`, f.log, f.hold, f.gate, f.fail)
	if err := os.WriteFile(f.program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfifo", f.gate).CombinedOutput(); err != nil {
		t.Fatalf("mkfifo: %v: %s", err, out)
	}
	return f
}

// calls counts the calls of a subcommand.
func (f fakeUV) calls(t *testing.T, subcommand string) int {
	t.Helper()
	content, err := os.ReadFile(f.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, subcommand+" ") {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func wantFault(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("got %v (kind %d), want a fault of kind %d", err, fault.KindOf(err), kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the message %q does not say %q", err, word)
		}
	}
}
