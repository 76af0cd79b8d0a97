package executor_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/executor/executortest"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/names"
)

// runnerEnv tells a plane of the suite, a child of this test binary, where the runner is.
const runnerEnv = "BIPLANE_TEST_RUNNER"

const logBytes = 16 << 20

var subject = executortest.Subject{Open: openProcess, Alive: aliveProcesses, LogBytes: logBytes}

func openProcess(dir string, events executor.Events) (executor.Executor, logs.Store, error) {
	store := logs.NewFile(filepath.Join(dir, "logs"))
	p, err := executor.NewProcess(executor.ProcessOptions{
		Root: filepath.Join(dir, "attempts"), Runner: os.Getenv(runnerEnv), Events: events,
		LogPath: store.Path, LogLimits: logs.Limits{Bytes: logBytes}, OrphanGrace: time.Minute,
	})
	return p, store, err
}

// aliveProcesses looks through the list of processes, zombies left out: they have no command line.
func aliveProcesses(marker string) (count int, err error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, process := range processes {
		if _, err := strconv.Atoi(process.Name()); err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + process.Name() + "/cmdline")
		if err == nil && bytes.Contains(line, []byte(marker)) {
			count++
		}
	}
	return count, nil
}

func TestMain(m *testing.M) {
	executortest.Main(subject) // a plane that the suite will kill
	beSecondPlane()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "runner")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "biplane-runner")
	build := exec.Command("go", "build", "-o", program, "biplane.dev/biplane/cmd/biplane-runner")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the runner: %v\n%s", err, output)
		return 1
	}
	if err := os.Setenv(runnerEnv, program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func TestProcess(t *testing.T) {
	t.Parallel()
	executortest.Run(t, subject)
}

// BenchmarkAttempt is from Start to Ended, of a program that does nothing.
func BenchmarkAttempt(b *testing.B) {
	ended := make(chan executor.Exit, 1)
	p, _, err := openProcess(b.TempDir(), endsTo(ended))
	if err != nil {
		b.Fatal(err)
	}
	run := names.Run{Project: names.Project{Org: names.Org, Project: "p", Domain: "d"}, Name: "bench"}
	number := uint32(0)
	for b.Loop() {
		number++
		id := names.Attempt{Action: names.Action{Run: run, Action: names.Root}, Number: number}
		if err := p.Start(b.Context(), executor.Command{ID: id, Args: []string{"/bin/true"}}); err != nil {
			b.Fatal(err)
		}
		<-ended
		p.Forget(id)
	}
	if err := p.Close(b.Context(), true); err != nil {
		b.Fatal(err)
	}
}

type endsTo chan<- executor.Exit

func (endsTo) Started(names.Attempt, time.Time) {}
func (e endsTo) Ended(exit executor.Exit)       { e <- exit }
