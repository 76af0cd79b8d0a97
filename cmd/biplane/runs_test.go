package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/admin"
	"biplane.dev/biplane/internal/control/plane"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/linktest"
)

// installation is a control plane and a data plane that has told it of some runs.
type installation struct {
	t      *testing.T
	state  string
	source *linktest.Plane
	unlink func()
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	i := &installation{t: t, state: t.TempDir(), source: linktest.Open(t, t.TempDir())}
	control, planeTLS := filepath.Join(i.state, "control"), filepath.Join(i.state, "plane")
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- plane.Run(ctx, plane.Config{State: control, Hosts: []string{"127.0.0.1"}, LocalPlane: plane.LocalPlane{Name: "here", Folder: planeTLS}, LinkListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Log: log})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the control plane ended with %v", err)
		}
	})
	linktest.Eventually(t, "the control plane is ready", func() bool { _, _, err := admin.Find(control); return err == nil })
	address, err := os.ReadFile(filepath.Join(control, plane.LinkAddressFile))
	if err != nil {
		t.Fatal(err)
	}
	config, err := link.ClientTLS(planeTLS)
	if err != nil {
		t.Fatal(err)
	}
	linked, unlink := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		link.Run(linked, link.Config{Address: strings.TrimSpace(string(address)), TLS: config, Source: i.source, Sink: i.source.Sink(), Log: log,
			Health: func() *linkv1.Health { return &linkv1.Health{Version: "1.2", CpuMillis: 2000, MemoryBytes: 3 << 30} }})
	}()
	i.unlink = func() { unlink(); <-done }
	t.Cleanup(i.unlink)
	return i
}

// command runs the command line and returns what it prints.
func (i *installation) command(line string) (out string, err error) {
	i.t.Helper()
	return execute(i.t, i.state, line)
}

func execute(t *testing.T, state, line string) (string, error) {
	t.Helper()
	var commands struct {
		Runs   runsCommand    `cmd:""`
		Run    runCommand     `cmd:""`
		Abort  abortCommand   `cmd:""`
		Planes planesCommands `cmd:""`
	}
	parser, err := kong.New(&commands)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(strings.Fields(line))
	if err != nil {
		return "", err
	}
	var both bytes.Buffer
	err = parsed.Run(&global{State: state, Out: &both, Err: &both})
	return both.String(), err
}

func (i *installation) await(line, want string) string {
	i.t.Helper()
	var out string
	linktest.Eventually(i.t, fmt.Sprintf("%q shows %q", line, want), func() bool {
		var err error
		if out, err = i.command(line); err != nil {
			i.t.Fatalf("%s: %v", line, err)
		}
		return strings.Contains(out, want)
	})
	return out
}

func TestCommands(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	if out := i.await("runs", ""); out != "No runs.\n" {
		t.Errorf("runs: %q", out)
	}
	failed := linktest.Run("r-failed", linkv1.Phase_PHASE_FAILED)
	failed.GetRun().ErrorCode, failed.GetRun().ExitClass = "ValueError", linkv1.ExitClass_EXIT_CLASS_USER
	failed.GetRun().Task = &linkv1.TaskID{Name: "hello.main", Version: "v1"}
	failed.GetRun().StartedUs, failed.GetRun().EndedUs = 1_000_000, 3_500_000
	waits := linktest.Action("r-runs", "a1", linkv1.Phase_PHASE_QUEUED)
	waits.GetAction().Reason = linkv1.Reason_REASON_CORES
	i.source.Put(linktest.Run("r-runs", linkv1.Phase_PHASE_RUNNING), linktest.Action("r-runs", "a0", linkv1.Phase_PHASE_RUNNING), waits, failed)

	out := i.await("runs", "r-failed")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || strings.Contains(out, "\x1b") {
		t.Errorf("runs:\n%s", out)
	}
	column := strings.Index(lines[0], "PHASE")
	for _, line := range lines[1:] {
		if !strings.HasPrefix(line[column:], "running") && !strings.HasPrefix(line[column:], "failed") {
			t.Errorf("the columns are not aligned:\n%s", out)
		}
	}
	for line, want := range map[string][]string{
		"runs --phase failed":        {"r-failed", "hello.main", "2.5s", "ValueError"},
		"runs --project p --limit 1": {"There are more; see them with --limit 10."},
		"run r-runs":                 {"p, development", "here", "2 (1 queued, 1 running)", "a1", "cores"},
		"run r-runs --limit 1":       {"There are more actions"},
		"run r-failed":               {"ValueError (user error)", "hello.main (version v1)"},
		"planes":                     {"here", "reporting since", "0 of 2", "0.0 of 3.0 GiB", "1.2"},
		"abort r-failed":             {"has ended already: failed"},
		"abort r-runs":               {"Run r-runs is being aborted."},
	} {
		out, err := i.command(line)
		for _, part := range want {
			if err != nil || !strings.Contains(out, part) {
				t.Errorf("%s: no %q in %q, err %v", line, part, out, err)
			}
		}
	}
	if out, err := i.command("runs --phase failed"); err != nil || strings.Contains(out, "r-runs") {
		t.Errorf("runs --phase failed: %q %v", out, err)
	}
	linktest.Eventually(t, "the data plane has the order", func() bool { return len(i.source.Done()) == 1 })

	for line, want := range map[string]string{
		"run nothing":        `run "nothing" does not exist`,
		"runs --phase wrong": `"wrong" is no phase; there are: queued, waiting-for-resources`,
		"runs --limit 0":     "--limit must be at least 1",
	} {
		if _, err := i.command(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}

	i.unlink()
	i.await("planes", "not reporting since")
	if out := i.await("runs", "r-runs"); strings.Count(out, "running, not reporting since") != 1 {
		t.Errorf("runs:\n%s", out)
	}
	if out := i.await("abort r-runs", ""); !strings.Contains(out, "will be aborted when data plane here is back") {
		t.Errorf("abort: %q", out)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.source.Put(linktest.Run("r", linkv1.Phase_PHASE_SUCCEEDED), linktest.Action("r", "a0", linkv1.Phase_PHASE_SUCCEEDED))
	i.await("runs", "succeeded")
	for line, path := range map[string][]string{
		"runs --json":   {"runs", "name"},
		"run r --json":  {"actions", "outputsUri"},
		"planes --json": {"planes", "lastHeard"},
	} {
		out, err := i.command(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		var answer map[string]any
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Errorf("%s: %v in %q", line, err, out)
			continue
		}
		rows, _ := answer[path[0]].([]any)
		if len(rows) != 1 || rows[0].(map[string]any)[path[1]] == nil {
			t.Errorf("%s: %s", line, out)
		}
	}
}

func TestNoControlPlane(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if _, err := execute(t, state, "runs"); err == nil || !strings.Contains(err.Error(), "no control plane runs on") {
		t.Errorf("err %v", err)
	}
	// One that was killed has left its address.
	control := filepath.Join(state, "control")
	if err := os.Mkdir(control, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{admin.AddressFile: "127.0.0.1:1", admin.TokenFile: "x"} {
		if err := os.WriteFile(filepath.Join(control, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := execute(t, state, "planes"); err == nil || !strings.Contains(err.Error(), "is it still running?") {
		t.Errorf("err %v", err)
	}
}

func TestEveryCommandShowsAnExample(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]kong.HelpProvider{"runs": &runsCommand{}, "run": &runCommand{}, "abort": &abortCommand{}, "planes": &planesCommand{},
		"planes token": &planesTokenCommand{}, "planes remove": &planesRemoveCommand{}, "planes events": &planesEventsCommand{}} {
		if !strings.Contains(command.Help(), "\n  biplane "+name) {
			t.Errorf("%s: no example in its help", name)
		}
	}
}

func TestDrainCommand(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.await("planes", "reporting since")
	out, err := i.command("planes drain here --no-wait")
	if want := "Data plane here is asked to take no new runs.\n"; err != nil || out != want {
		t.Errorf("%q (%v), want %q", out, err, want)
	}
	out, err = i.command("planes drain here --no-wait --json")
	if err != nil || !strings.Contains(out, `"phase": "DRAIN_PHASE_ORDERED"`) || !strings.Contains(out, `"ordered"`) {
		t.Errorf("%q (%v)", out, err)
	}
	// The plane of this test never says that it drains, so taking it back is done at once, and the command returns.
	out, err = i.command("planes drain here --undo")
	if want := "Data plane here takes new runs.\n"; err != nil || out != want {
		t.Errorf("%q (%v), want %q", out, err, want)
	}
	if _, err := i.command("planes drain nowhere"); err == nil || !strings.Contains(err.Error(), `data plane "nowhere" does not exist`) {
		t.Errorf("a plane that is not there: %v", err)
	}
}
