package images_test

import (
	"context"
	"errors"
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

func TestPlanesBuildOnceTogether(t *testing.T) {
	t.Parallel()
	uv, cache := newFakeUV(t), t.TempDir()
	planes := []*images.Store{
		open(t, images.Config{Cache: cache, UV: uv.program}),
		open(t, images.Config{Cache: cache, UV: uv.program}),
	}
	var wg sync.WaitGroup
	envs := make([]images.Env, 16)
	for i := range envs {
		wg.Go(func() {
			env, err := planes[i%2].Base(t.Context(), nil)
			if err != nil {
				t.Error(err)
			}
			envs[i] = env
		})
	}
	wg.Wait()
	for _, env := range envs {
		if env.Key == "" || env.Root != envs[0].Root {
			t.Errorf("got %+v, want the same environment for all", env)
		}
	}
	if n := uv.calls(t, "venv"); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

// Who waited for a builder has the environment when it is built, and need not wait until its first user lets it go.
func TestWaitingBuilderMeetsAUser(t *testing.T) {
	t.Parallel()
	uv := newFakeUV(t)
	store := open(t, images.Config{Cache: t.TempDir(), UV: uv.program})
	if err := os.WriteFile(uv.hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := make(chan error, 1)
	go func() {
		env, err := store.Base(t.Context(), nil)
		if err == nil {
			var hold *images.Hold
			if hold, err = store.Hold(t.Context(), env.Key); err == nil {
				t.Cleanup(func() { _ = hold.Close() })
			}
		}
		used <- err
	}()
	eventually(t, "the install begins", func() bool { return uv.calls(t, "waiting") == 1 })
	var told transcript
	waited := make(chan error, 1)
	go func() {
		_, err := store.Base(t.Context(), told.add)
		waited <- err
	}()
	eventually(t, "the second waits", func() bool { return strings.Contains(told.text(), "Waiting") })
	if err := os.WriteFile(uv.gate, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, done := range []chan error{used, waited} {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("somebody waits for the user of a finished environment")
		}
	}
	if n := uv.calls(t, "venv"); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

// A builder that is killed leaves uv running. Nobody may touch the folder until it is gone; then it is built anew.
func TestKilledBuilder(t *testing.T) {
	t.Parallel()
	uv, cache := newFakeUV(t), t.TempDir()
	if err := os.WriteFile(uv.hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	builder := exec.Command(os.Args[0])
	builder.Env = append(os.Environ(), helperVar+"="+cache+"|"+uv.program)
	if err := builder.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the install begins", func() bool { return uv.calls(t, "waiting") == 1 })
	if err := builder.Process.Kill(); err != nil { // takes uv with it, not what uv has started
		t.Fatal(err)
	}
	_ = builder.Wait()
	if err := os.Remove(uv.hold); err != nil {
		t.Fatal(err)
	}

	var told transcript
	store := open(t, images.Config{Cache: cache, UV: uv.program})
	done := make(chan error, 1)
	go func() {
		_, err := store.Base(t.Context(), told.add)
		done <- err
	}()
	eventually(t, "the second builder waits", func() bool { return strings.Contains(told.text(), "Waiting") })
	select {
	case err := <-done:
		t.Fatalf("the second builder did not wait for the orphan: %v", err)
	default:
	}
	if n := uv.calls(t, "venv"); n != 1 {
		t.Fatalf("%d builds while the orphan was alive, want 1", n)
	}
	if err := os.WriteFile(uv.gate, []byte("go\n"), 0o600); err != nil { // the orphan ends
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(told.text(), "interrupted build") {
		t.Errorf("the leftover was not mentioned:\n%s", told.text())
	}
	if n := uv.calls(t, "venv"); n != 2 {
		t.Errorf("%d builds, want 2", n)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	t.Parallel()
	uv, cache := newFakeUV(t), t.TempDir()
	store := open(t, images.Config{Cache: cache, UV: uv.program})
	for said, kind := range map[string]fault.Kind{
		"error: Request failed after 3 retries\n  cause: error sending request for url (https://who:secret@index.example/simple/)": fault.KindUnavailable,
		"error: No space left on device (os error 28)":                                    fault.KindUnavailable,
		"No solution found when resolving dependencies: flyte is \x1b[1mnot\x1b[0m there": fault.KindPrecondition,
	} {
		if err := os.WriteFile(uv.fail, []byte(said), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := store.Base(t.Context(), nil)
		wantFault(t, err, kind)
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("the message holds a password or control characters: %q", err)
		}
		if left, err := os.ReadDir(filepath.Join(cache, "envs")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
	if err := os.Remove(uv.fail); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Base(t.Context(), nil); err != nil {
		t.Errorf("the next build: %v", err)
	}
}

func TestBuildIsStopped(t *testing.T) {
	t.Parallel()
	uv := newFakeUV(t)
	if err := os.WriteFile(uv.hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	store := open(t, images.Config{Cache: t.TempDir(), UV: uv.program})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := store.Base(ctx, nil)
		done <- err
	}()
	eventually(t, "the install begins", func() bool { return uv.calls(t, "pip") == 1 })
	cancel()
	err := <-done
	wantFault(t, err, fault.KindAborted)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cause to be kept", err)
	}
}

func TestVanishedInterpreterIsBuiltAgain(t *testing.T) {
	t.Parallel()
	uv := newFakeUV(t)
	store := open(t, images.Config{Cache: t.TempDir(), UV: uv.program})
	env, err := store.Base(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(env.Python); err != nil {
		t.Fatal(err)
	}
	if env, err = store.Base(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(env.Python); err != nil {
		t.Error(err)
	}
}

func TestMachineWithoutPython(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	store := open(t, images.Config{Cache: t.TempDir(), Environ: []string{"PATH=" + empty}})
	_, err := store.Base(t.Context(), nil)
	wantFault(t, err, fault.KindPrecondition, "python3 is not found", "install Python 3.10", "python3-venv")

	answers := map[string][]string{
		`{"path": "/old/python", "version": "3.9.18", "pip": true}`:   {"3.9.18", "3.10 or newer"},
		`{"path": "/bare/python", "version": "3.11.2", "pip": false}`: {"ensurepip", "apt install python3-venv"},
		`oops`: {"does not run"},
	}
	for answer, words := range answers {
		dir := t.TempDir()
		python := filepath.Join(dir, "python3")
		if err := os.WriteFile(python, []byte("#!/bin/sh\necho '"+answer+"'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		store := open(t, images.Config{Cache: t.TempDir(), Environ: []string{"PATH=" + dir}})
		_, err := store.Base(t.Context(), nil)
		wantFault(t, err, fault.KindPrecondition, words...)
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	const week = 7 * 24 * time.Hour
	uv, cache := newFakeUV(t), t.TempDir()
	store := open(t, images.Config{Cache: cache, UV: uv.program})
	other := open(t, images.Config{Cache: cache, UV: uv.program})
	base, err := store.Base(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	minor := strings.SplitN(strings.TrimPrefix(base.Key, "py"), "-", 2)[0]
	env := func(version string) images.Env {
		t.Helper()
		env, err := store.Resolve(t.Context(), "ghcr.io/flyteorg/flyte:py"+minor+"-v"+version)
		if err != nil {
			t.Fatal(err)
		}
		return env
	}
	fresh, held, kept, idle := env("2.0.1"), env("2.0.2"), env("2.0.3"), env("2.0.4")
	age := func(e images.Env) {
		t.Helper()
		old := time.Now().Add(-2 * week)
		if err := os.Chtimes(filepath.Join(e.Root, ".used"), old, old); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []images.Env{base, held, kept, idle} {
		age(e)
	}
	hold, err := other.Hold(t.Context(), held.Key)
	if err != nil {
		t.Fatal(err)
	}
	leftover := filepath.Join(cache, "envs", "py3.11-halfbuilt")
	if err := os.MkdirAll(leftover, 0o700); err != nil {
		t.Fatal(err)
	}
	collect := func() images.Collected {
		t.Helper()
		done, err := store.Collect(t.Context(), func(key string) bool { return key == kept.Key }, week)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	done := collect()
	for e, stays := range map[string]bool{base.Root: true, fresh.Root: true, held.Root: true, kept.Root: true, idle.Root: false, leftover: false} {
		if _, err := os.Stat(e); (err == nil) != stays {
			t.Errorf("%s: stays %v, want %v", e, err == nil, stays)
		}
	}
	if len(done.Removed) != 2 || done.InUse != 2 {
		t.Errorf("got %+v, want two removed and two in use", done)
	}
	if locks, err := os.ReadDir(filepath.Join(cache, "locks")); err != nil || len(locks) != 4 {
		t.Errorf("lock files: %v %v, want those of what stays", locks, err)
	}

	// What was removed cannot be held, and comes back when it is needed.
	_, err = store.Hold(t.Context(), idle.Key)
	wantFault(t, err, fault.KindNotFound)
	if again := env("2.0.4"); again.Root != idle.Root {
		t.Errorf("built again at %s, was at %s", again.Root, idle.Root)
	}
	// Use makes young again.
	env("2.0.2")
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	if done := collect(); len(done.Removed) > 0 {
		t.Errorf("removed %v right after its use", done.Removed)
	}
	age(held)
	if done := collect(); len(done.Removed) != 1 || done.Removed[0] != held.Key {
		t.Errorf("removed %v, want what nobody holds any more", done.Removed)
	}
}

func TestCollectLimitsDownloads(t *testing.T) {
	t.Parallel()
	uv, cache := newFakeUV(t), t.TempDir()
	store := open(t, images.Config{Cache: cache, UV: uv.program, Downloads: 10})
	path := filepath.Join(cache, "uv", "wheel")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for content, cleared := range map[string]bool{"0123456789": false, "0123456789a": true} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		done, err := store.Collect(t.Context(), nil, 0)
		if err != nil || done.Cleared != cleared {
			t.Errorf("%d bytes: cleared %v, want %v (%v)", len(content), done.Cleared, cleared, err)
		}
	}
	if n := uv.calls(t, "cache clean"); n != 1 {
		t.Errorf("uv's cache was emptied %d times, want once", n)
	}
}
