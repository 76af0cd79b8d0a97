package executor_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/executor/runner"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

const patience = 60 * time.Second

// world is a process executor whose folders are known to the test.
type world struct {
	*testing.T
	*executor.Process
	options executor.ProcessOptions
	logs    *logs.File
	started chan names.Attempt
	ended   chan executor.Exit
}

func (w *world) Started(id names.Attempt, _ time.Time) { w.started <- id }
func (w *world) Ended(exit executor.Exit)              { w.ended <- exit }

func newWorld(t *testing.T, change func(o *executor.ProcessOptions, logRoot *string)) *world {
	t.Helper()
	w := &world{T: t, started: make(chan names.Attempt, 100), ended: make(chan executor.Exit, 100)}
	dir := t.TempDir()
	logRoot := filepath.Join(dir, "logs")
	w.options = executor.ProcessOptions{Root: filepath.Join(dir, "attempts"), Runner: os.Getenv(runnerEnv), Events: w}
	if change != nil {
		change(&w.options, &logRoot)
	}
	w.logs = logs.NewFile(logRoot)
	w.options.LogPath = w.logs.Path
	w.open()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.Close(ctx, true); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

func (w *world) open() {
	w.Helper()
	var err error
	if w.Process, err = executor.NewProcess(w.options); err != nil {
		w.Fatal(err)
	}
}

func (w *world) folder(id names.Attempt) string {
	return filepath.Join(w.options.Root, "attempts", id.Org, id.Project.Project, id.Domain, id.Name, id.Action.Action, fmt.Sprint(id.Number))
}

func (w *world) command(run, script string) executor.Command {
	project := names.Project{Org: names.Org, Project: "p", Domain: "d"}
	id := names.Attempt{Action: names.Action{Run: names.Run{Project: project, Name: run}, Action: names.Root}, Number: 1}
	return executor.Command{ID: id, Args: []string{"sh", "-c", script}, Env: map[string]string{"PATH": "/usr/bin:/bin"}, Grace: 5 * time.Second}
}

func (w *world) begin(command executor.Command) {
	w.Helper()
	if err := w.Start(w.Context(), command); err != nil {
		w.Fatal(err)
	}
	w.awaitStarted()
}

func (w *world) awaitStarted() {
	w.Helper()
	select {
	case <-w.started:
	case <-time.After(patience):
		w.Fatal("not started")
	}
}

func (w *world) awaitEnded() executor.Exit {
	w.Helper()
	select {
	case exit := <-w.ended:
		return exit
	case <-time.After(patience):
		w.Fatal("not ended")
		return executor.Exit{}
	}
}

func (w *world) runnerOf(id names.Attempt) int {
	w.Helper()
	pid, err := runner.Holder(filepath.Join(w.folder(id), runner.LockFile))
	if err != nil || pid == 0 {
		w.Fatalf("no runner: pid %d, %v", pid, err)
	}
	return pid
}

func (w *world) text(id names.Attempt) string {
	w.Helper()
	var text strings.Builder
	for position := ""; ; {
		lines, next, err := w.logs.Read(w.Context(), id, position, 0)
		if err != nil {
			w.Fatal(err)
		}
		if len(lines) == 0 {
			return text.String()
		}
		for _, line := range lines {
			text.WriteString(line.Text + "\n")
		}
		position = next
	}
}

// until waits for what has no event of its own.
func (w *world) until(what string, holds func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited in vain until %s", what)
		}
	}
}

func (w *world) nothingAlive(mark string) bool {
	w.Helper()
	count, err := aliveProcesses(mark)
	if err != nil {
		w.Fatal(err)
	}
	return count == 0
}

func mark() string { return fmt.Sprintf("8%d", time.Now().UnixNano()) }

func TestOnePlaneAtATimeUsesAFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	// A lock of this process does not hinder this process, so somebody else must try.
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), secondPlane+"="+w.options.Root)
	output, err := other.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if !strings.Contains(string(output), "another data plane uses the folder") {
		t.Fatalf("the second plane says %q", output)
	}
}

const secondPlane = "BIPLANE_TEST_SECOND_PLANE"

// beSecondPlane prints why a plane cannot use the folder that another one has.
func beSecondPlane() {
	root := os.Getenv(secondPlane)
	if root == "" {
		return
	}
	_, err := executor.NewProcess(executor.ProcessOptions{Root: root, Runner: os.Getenv(runnerEnv)})
	if !fault.Is(err, fault.KindPrecondition) {
		fmt.Printf("not a fault of the right kind: %v\n", err)
	}
	fmt.Println(err)
	os.Exit(0)
}

func TestAKilledRunnerTakesItsTaskAlong(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"noticed at once": false, "noticed by the next life": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, mark := newWorld(t, nil), mark()
			command := w.command("killed", `sleep `+mark+` & (cd /; sleep `+mark+` > /dev/null 2>&1 < /dev/null &) ; setsid sleep `+mark+` & touch ready; sleep `+mark)
			command.Files = []executor.File{{Path: "token", Content: []byte("x")}}
			w.begin(command)
			w.until("all its processes are there", func() bool {
				_, err := os.Stat(filepath.Join(w.folder(command.ID), runner.WorkDir, "ready"))
				return err == nil
			})
			pid := w.runnerOf(command.ID)
			if restart {
				if err := w.Close(t.Context(), false); err != nil {
					t.Fatal(err)
				}
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if restart {
				w.until("the runner is gone", func() bool {
					pid, err := runner.Holder(filepath.Join(w.folder(command.ID), runner.LockFile))
					return err == nil && pid == 0
				})
				w.open()
				w.Adopt(command.ID)
			}
			exit := w.awaitEnded()
			if !exit.Lost || exit.Code != -1 || exit.Started.IsZero() {
				t.Fatalf("%+v", exit)
			}
			if !w.nothingAlive(mark) {
				t.Fatal("processes are alive after the attempt was told as lost")
			}
			if _, err := os.Stat(filepath.Join(w.folder(command.ID), runner.SecretsDir)); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("the secrets are still there: %v", err)
			}
			// Lost is final: the same attempt is not started again.
			if err := w.Start(t.Context(), command); err != nil {
				t.Fatal(err)
			}
			if exit := w.awaitEnded(); !exit.Lost {
				t.Fatalf("%+v", exit)
			}
		})
	}
}

func TestWithoutAPlaneEverythingEnds(t *testing.T) {
	t.Parallel()
	w, mark := newWorld(t, func(o *executor.ProcessOptions, _ *string) { o.OrphanGrace = 300 * time.Millisecond }), mark()
	command := w.command("orphan", `trap '' TERM; setsid sleep `+mark+` & while :; do sleep `+mark+`; done`)
	command.Grace = 100 * time.Millisecond
	w.begin(command)
	pid := w.runnerOf(command.ID)
	if err := w.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	w.until("nothing of it is alive", func() bool { return w.nothingAlive(mark) })
	w.until("the runner is gone", func() bool { return !isAlive(pid) })
	w.open()
	w.Adopt(command.ID)
	if exit := w.awaitEnded(); !exit.Lost || exit.Stopped || exit.Signal != "SIGKILL" {
		t.Fatalf("%+v", exit)
	}
	if got := w.text(command.ID); !strings.Contains(got, "data plane was away") {
		t.Fatalf("log %q", got)
	}
}

// isAlive is false for zombies: of a plane that lives on in this test, nobody waits for the runner.
func isAlive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(status) > 0
}

func TestAShortAbsenceOfThePlaneEndsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *executor.ProcessOptions, _ *string) { o.OrphanGrace = 3 * time.Second })
	command := w.command("patient", `sleep 4; exit 3`)
	w.begin(command)
	for range 3 {
		if err := w.Close(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		w.open()
	}
	w.Adopt(command.ID)
	if exit := w.awaitEnded(); exit.Code != 3 || exit.Lost {
		t.Fatalf("%+v", exit)
	}
}

func TestForgottenFoldersAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	command := w.command("tidy", `mkdir -p a/b; touch a/b/c; chmod 500 a/b a`)
	w.begin(command)
	w.awaitEnded()
	w.Forget(command.ID)
	w.until("the trash is empty", func() bool {
		entries, err := os.ReadDir(filepath.Join(w.options.Root, "trash"))
		return err == nil && len(entries) == 0
	})
	if entries, err := os.ReadDir(filepath.Join(w.options.Root, "attempts")); err != nil || len(entries) != 0 {
		t.Fatalf("parents of a forgotten attempt stay: %v, %v", entries, err)
	}
}

func TestAttemptsLeaveNoOpenFiles(t *testing.T) {
	w := newWorld(t, nil)
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	run := func(prefix string) {
		for i := range 20 {
			w.begin(w.command(fmt.Sprintf("%s%d", prefix, i), "exit 0"))
		}
		for range 20 {
			w.Forget(w.awaitEnded().ID)
		}
	}
	run("first")
	before := count()
	run("second")
	w.until("as few files are open as before", func() bool { return count() <= before })
}
