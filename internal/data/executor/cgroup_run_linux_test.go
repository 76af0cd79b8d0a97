package executor_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/executor/runner"
)

// realGroup is a control group of version 2 for the attempts of a test.
func realGroup(t *testing.T) string {
	t.Helper()
	var parent string
	for _, mount := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(mount + "/cgroup.controllers"); err == nil {
			parent = mount
			break
		}
	}
	if parent == "" {
		t.Skip("control groups of version 2 are not mounted")
	}
	group := filepath.Join(parent, fmt.Sprintf("biplane-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("control groups cannot be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Rmdir(group); err != nil {
			t.Errorf("attempts' groups stay: %v", err)
		}
	})
	return group
}

func TestAttemptsInControlGroups(t *testing.T) {
	group := realGroup(t)
	w, mark := newWorld(t, func(o *executor.ProcessOptions, _ *string) { o.Cgroup = group }), mark()

	command := w.command("grouped", `cat /proc/self/cgroup; setsid sleep `+mark+` & exit 3`)
	w.begin(command)
	if exit := w.awaitEnded(); exit.Code != 3 {
		t.Fatalf("%+v", exit)
	}
	if got := w.text(command.ID); !strings.Contains(got, filepath.Base(group)+"/attempt-") {
		t.Fatalf("the task was in %q", got)
	}
	if !w.nothingAlive(mark) {
		t.Fatal("a child is alive")
	}

	// A child that left session, group and folder is found by the control group even when the runner was killed.
	command = w.command("lost", `(cd /; setsid sleep `+mark+` < /dev/null > /dev/null 2>&1 &); sleep 0.2; touch ready; sleep `+mark)
	w.begin(command)
	w.until("the child is detached", func() bool {
		_, err := os.Stat(filepath.Join(w.folder(command.ID), runner.WorkDir, "ready"))
		return err == nil
	})
	task, err := runner.ReadTask(w.folder(command.ID))
	if err != nil || task.Cgroup == "" {
		t.Fatalf("%+v, %v", task, err)
	}
	if err := syscall.Kill(w.runnerOf(command.ID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := w.awaitEnded(); !exit.Lost {
		t.Fatalf("%+v", exit)
	}
	if !w.nothingAlive(mark) {
		t.Fatal("a child of the lost attempt is alive")
	}
	if _, err := os.Stat(task.Cgroup); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the attempt's group stays: %v", err)
	}
}
