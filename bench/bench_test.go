package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/bench/internal/controller"
	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
)

// patience is how long anything here may take on a machine that is busy with other things.
const patience = 2 * time.Minute

// programs is where the binaries of the tests are.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "biplane-bench-programs-"); err == nil {
			defer os.RemoveAll(programs)
			err = build()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func build() error {
	command := exec.Command("go", "build", "-o", programs+"/", "biplane.dev/biplane/cmd/biplane-data", "biplane.dev/biplane/cmd/biplane-runner")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", command, err, out)
	}
	return nil
}

// startPlane starts a data plane until the test ends.
func startPlane(t *testing.T) *process.Plane {
	t.Helper()
	plane, err := process.StartData(t.Context(), process.Programs{Folder: programs, Cache: filepath.Join(programs, "cache")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	return plane
}

// TestDriver: the cases that need no SDK measure something, on a small scale.
func TestDriver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	plane := startPlane(t)
	r, err := report.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	figures := (&bench{report: r}).table("test")
	err = underParent(ctx, plane, 0, func(parent *controller.Parent) error {
		parent.Window = 50 // smaller than the fan, so that it is used
		if err := fanOut(ctx, figures, plane, parent, 300, 0); err != nil {
			return err
		}
		return parent.Call(ctx, 300)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := swarmOnce(ctx, figures, plane, 3, 20); err != nil {
		t.Fatal(err)
	}
	for _, how := range creations {
		how.n = 20
		if err := createRuns(ctx, figures, plane, how); err != nil {
			t.Fatalf("%s: %v", how.name, err)
		}
	}
	if err := figures.done(); err != nil {
		t.Fatal(err)
	}
	table := r.Table()
	for _, name := range []string{"test/300 ", "test/300/commits ", "swarm/3x20 ", "create/16 ", "create/submit-16/cpu "} {
		if !strings.Contains(table, "\n"+name) {
			t.Errorf("%q was not measured:\n%s", name, table)
		}
	}
}

// TestLostPlane: a parent whose plane has gone says so rather than waiting for ever.
func TestLostPlane(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	plane := startPlane(t)
	client := controller.NewClient(plane.URL)
	defer client.Close()
	parent, err := client.Open(ctx, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- parent.Call(ctx, 0) }()
	for held := 0.0; held < 2; {
		metrics, err := plane.Metrics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		held = metrics["biplane_engine_actions"]
	}
	if err := plane.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err == nil || ctx.Err() != nil {
		t.Errorf("the call of a child on a plane that has gone ended with %v", err)
	}
	if err := parent.Close(ctx); err == nil {
		t.Error("a run was aborted on a plane that has gone")
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	times := []time.Duration{5, 1, 4, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := quantile(times, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("no times have a quantile")
	}
}
