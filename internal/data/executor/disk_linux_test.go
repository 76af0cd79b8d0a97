package executor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/executor/runner"
	"biplane.dev/biplane/internal/fault"
)

// smallDisk is a file system of about 1 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=700")
	if errors.Is(err, syscall.EPERM) {
		t.Skip("mounting a small file system needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the room there is.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, piece := range [][]byte{make([]byte, 64<<10), make([]byte, 4<<10)} {
		for err == nil {
			_, err = file.Write(piece)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}

func TestLogOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	w := newWorld(t, func(_ *executor.ProcessOptions, logRoot *string) { *logRoot = filepath.Join(disk, "logs") })
	gate := filepath.Join(t.TempDir(), "gate")
	command := w.command("full", `echo first; seq 1 300000; touch `+gate+`.full; while ! test -e `+gate+`; do sleep 0.02; done; echo last; exit 5`)
	ballast := filepath.Join(disk, "ballast")
	w.begin(command)
	// The task writes 2 MB, so it goes on only if somebody still reads what it prints.
	w.until("the task has printed more than fits", func() bool { _, err := os.Stat(gate + ".full"); return err == nil })
	if err := os.WriteFile(ballast, []byte("x"), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	_ = os.Remove(ballast)
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=2m,mode=700"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if exit := w.awaitEnded(); exit.Code != 5 {
		t.Fatalf("%+v", exit)
	}
	text := w.text(command.ID)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != "first" || lines[1] != "1" || lines[len(lines)-1] != "last" {
		t.Fatalf("%q … %q", lines[:2], lines[len(lines)-1])
	}
	next, gaps := 1, 0
	for _, line := range lines[1 : len(lines)-1] {
		var missing, bytes int
		if n, _ := fmt.Sscanf(line, "%d lines (%d bytes) are missing here: the log could not be written: no space left on device", &missing, &bytes); n == 2 {
			gaps++
			next += missing
			continue
		}
		if line != strconv.Itoa(next) {
			t.Fatalf("line %q where %d should be", line, next)
		}
		next++
	}
	if gaps == 0 || next != 300_001 {
		t.Fatalf("%d gaps, and the lines end before %d", gaps, next)
	}
}

func TestATaskThatFillsTheDiskKeepsItsEnd(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	w := newWorld(t, func(o *executor.ProcessOptions, _ *string) { o.Root = disk })
	command := w.command("filler", `cat /dev/zero > fill; echo filled >&2; sleep 0.3; exit 6`)
	w.begin(command)
	if err := w.Close(t.Context(), false); err != nil { // so that the record on disk is the only one
		t.Fatal(err)
	}
	w.until("it has ended", func() bool { _, err := runner.ReadRecord(w.folder(command.ID)); return err == nil })
	w.open()
	w.Adopt(command.ID)
	if exit := w.awaitEnded(); exit.Code != 6 || exit.Lost {
		t.Fatalf("%+v", exit)
	}
	w.Forget(command.ID)
	w.until("there is room again", func() bool { return os.WriteFile(filepath.Join(disk, "probe"), make([]byte, 500<<10), 0o600) == nil })
}

func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	w := newWorld(t, func(o *executor.ProcessOptions, _ *string) { o.Root = disk })
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	command := w.command("full", "exit 4")
	switch err := w.Start(t.Context(), command); {
	case err == nil: // the folders fitted, what the runner needs did not
		exit := w.awaitEnded()
		if exit.BadCommand || !strings.Contains(exit.StartError, "no space left") {
			t.Fatalf("%+v", exit)
		}
		w.Forget(command.ID)
	case !fault.Is(err, fault.KindExhausted):
		t.Fatal(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.begin(command)
	if exit := w.awaitEnded(); exit.Code != 4 {
		t.Fatalf("%+v", exit)
	}
}
