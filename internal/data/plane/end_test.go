package plane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/plane"
)

// A plane that is stopped in the middle of everything it can do leaves nothing in the process: no goroutine, no open file, no
// address, no task. It does not run beside the other tests, whose planes it would see.
func TestCleanEnd(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	before := goroutines(t)
	b := startOn(t, state)
	address := strings.TrimPrefix(b.clients.base, "http://")
	if written, err := os.ReadFile(filepath.Join(state, plane.AddressFile)); err != nil || strings.TrimSpace(string(written)) != address {
		t.Errorf("the address file holds %q (%v), the plane listens on %s", written, err, address)
	}
	leave := busy(b)
	b.close()
	leave()

	if _, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		t.Error("somebody listens still")
	}
	if _, err := os.Stat(filepath.Join(state, plane.AddressFile)); !os.IsNotExist(err) {
		t.Errorf("the address file is there still (%v)", err)
	}
	for _, file := range openFiles(t) {
		if strings.HasPrefix(file, state) {
			t.Errorf("%s is open still", file)
		}
	}
	var left []string
	deadline := time.Now().Add(5 * time.Second) // the other ends of connections notice a little later
	for left = leftOver(t, before); len(left) > 0 && time.Now().Before(deadline); left = leftOver(t, before) {
		b.http.CloseIdleConnections()
		time.Sleep(10 * time.Millisecond)
	}
	for _, stack := range left {
		t.Errorf("left behind:\n%s", stack)
	}
	if alive := processes(t, state); len(alive) > 0 {
		t.Errorf("processes of tasks are alive: %q", alive)
	}
	b = startOn(t, state) // nothing holds the folder
	b.details("held", "script")
}

// busy makes the plane do one of everything. Calling leave closes the clients' side of it.
func busy(b *bench) (leave func()) {
	b.Helper()
	b.parent("held")
	b.enqueue(b.child("held", "sleep", time.Hour))
	script := b.child("held", "script", 0)
	script.GetAction().GetTask().Spec = scriptSpec("echo running; while :; do sleep 0.05; done")
	b.enqueue(script)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	wantOK(b, "find a port where nobody listens", err)
	wantOK(b, "find a port where nobody listens", dead.Close())
	hooked := b.condition("held", "hooked")
	hooked.GetAction().GetCondition().Webhook = &workflow.ConditionWebhook{Url: "http://" + dead.Addr().String()}
	b.enqueue(hooked)
	until(b, "the webhook has been tried", func() bool { return strings.Contains(b.stderr.text(), "could not be reached") })
	children := b.watch(project, "held")
	children.sentinel()
	watch, err := b.runs.WatchRunDetails(b.Context(), &workflow.WatchRunDetailsRequest{RunId: runID("held")})
	wantOK(b, "watch a run", err)
	tail, err := b.data.TailLogs(b.Context(), &dataproxy.TailLogsRequest{ActionId: actionID("held", "script")})
	wantOK(b, "tail a log", err)
	if !watch.Receive() || !tail.Receive() {
		b.Fatalf("no first messages: %v, %v", watch.Err(), tail.Err())
	}
	for _, action := range []string{"sleep", "script"} {
		until(b, action+" runs", func() bool {
			return b.details("held", action).GetStatus().GetPhase().String() == "ACTION_PHASE_RUNNING"
		})
	}
	return func() {
		children.close()
		_ = errors.Join(watch.Close(), tail.Close()) // the plane has ended them
	}
}

// goroutines are the stacks of all goroutines, by number.
func goroutines(t *testing.T) map[string]string {
	t.Helper()
	var text bytes.Buffer
	wantOK(t, "look at the goroutines", pprof.Lookup("goroutine").WriteTo(&text, 2))
	stacks := map[string]string{}
	for stack := range strings.SplitSeq(text.String(), "\n\n") {
		number, _, _ := strings.Cut(stack, " [")
		stacks[number] = stack
	}
	return stacks
}

// leftOver are the goroutines that were not there before, this test's own left out.
func leftOver(t *testing.T, before map[string]string) (left []string) {
	t.Helper()
	for number, stack := range goroutines(t) {
		if _, old := before[number]; !old && !strings.Contains(stack, "plane_test.") {
			left = append(left, stack)
		}
	}
	return left
}

func openFiles(t *testing.T) (paths []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not say which files are open")
	}
	for _, entry := range entries {
		if path, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// processes are the command lines of living processes that know of a folder.
func processes(t *testing.T, folder string) (lines []string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	wantOK(t, "list processes", err)
	for _, process := range found {
		if process == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		line, _ := os.ReadFile(process + "/cmdline") // it may have ended meanwhile
		environ, _ := os.ReadFile(process + "/environ")
		if bytes.Contains(line, []byte(folder)) || bytes.Contains(environ, []byte(folder)) {
			lines = append(lines, string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return lines
}

// A plane that cannot start says why, and has not taken anything: when the reason is gone it starts.
func TestStartsThatFail(t *testing.T) {
	first := start(t)
	port := strings.TrimPrefix(first.clients.base, "http://")
	used := filepath.Join(t.TempDir(), "used")
	startVictim(t, used) // in a process of its own, since the lock is a process's
	for what, test := range map[string]struct {
		prepare, repair func(state string) error
		change          func(*plane.Config)
		words           []string
	}{
		"a folder in use":   {change: func(c *plane.Config) { c.State = used }, words: []string{"another data plane uses the folder", "stop it first"}},
		"a port in use":     {change: func(c *plane.Config) { c.Listen = port }, words: []string{"cannot listen on " + port, "choose another address"}},
		"no runner":         {change: func(c *plane.Config) { c.Runner += "-nowhere" }, words: []string{"runner"}},
		"a file for folder": {prepare: func(state string) error { return os.WriteFile(state, nil, 0o600) }, repair: os.Remove, words: []string{"state folder", "cannot be written"}},
		"no place for the address": {
			prepare: func(state string) error {
				return os.MkdirAll(filepath.Join(state, plane.AddressFile, "occupied"), 0o700)
			},
			repair: func(state string) error { return os.RemoveAll(filepath.Join(state, plane.AddressFile)) },
			words:  []string{"the plane's address cannot be written"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			if test.prepare != nil {
				wantOK(t, "prepare", test.prepare(state))
			}
			settings := config(state, slog.New(slog.DiscardHandler))
			if test.change != nil {
				test.change(&settings)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := plane.Run(ctx, settings, func(string) { t.Error("the plane started") })
			if err == nil {
				t.Fatal("no error")
			}
			wantWords(t, err.Error(), test.words...)
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %q", err)
			}
			if test.repair != nil {
				wantOK(t, "repair", test.repair(state))
			}
			startOn(t, state).close()
		})
	}
	first.create(createRequest("still", sleepSpec(), sleepInputs(0)))
}
