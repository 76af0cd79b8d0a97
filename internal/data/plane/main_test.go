package plane_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"biplane.dev/biplane/gen/biplane/plane/v1/planev1connect"
	"biplane.dev/biplane/gen/flyteidl2/actions/actionsconnect"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy/dataproxyconnect"
	"biplane.dev/biplane/gen/flyteidl2/project/projectconnect"
	"biplane.dev/biplane/gen/flyteidl2/task/taskconnect"
	"biplane.dev/biplane/gen/flyteidl2/trigger/triggerconnect"
	"biplane.dev/biplane/gen/flyteidl2/workflow/workflowconnect"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/plane"
)

const (
	runnerEnv = "BIPLANE_TEST_RUNNER"       // where a copy of this test binary finds biplane-runner
	planeEnv  = "BIPLANE_TEST_PLANE_FOLDER" // makes a copy of this test binary a plane on that state folder
)

// patience is how long anything here may take on a machine that is busy with other things.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if state := os.Getenv(planeEnv); state != "" {
		bePlane(state)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Getenv(runnerEnv) != "" {
		return m.Run() // a copy of the test binary that has its own disk
	}
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
	if err := errors.Join(os.Setenv(runnerEnv, program), fakePython(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// fakePython makes the machine one whose Python environments are made at once and hold nothing: the tasks here are shell
// scripts. It lies in PATH, where the plane looks for the real ones.
func fakePython(dir string) error {
	dir = filepath.Join(dir, "bin")
	python := "#!/bin/sh\necho '{\"path\": \"" + dir + "/python3\", \"version\": \"3.12.0\", \"pip\": false}'\n"
	uv := `#!/bin/sh
[ "$1" = venv ] || exit 0
for path; do :; done
mkdir -p "$path/bin"
printf '#!/bin/sh\n' > "$path/bin/python"
chmod +x "$path/bin/python"
`
	return errors.Join(
		os.Mkdir(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "python3"), []byte(python), 0o700),
		os.WriteFile(filepath.Join(dir, "uv"), []byte(uv), 0o700),
		os.Setenv("PATH", dir+":"+os.Getenv("PATH")),
	)
}

// config is that of a plane of these tests, on a free port. Its images lie below the state folder too: what a test may not
// touch is then in one place.
func config(state string, log *slog.Logger) plane.Config {
	return plane.Config{
		State: state, Cache: filepath.Join(state, "cache"), Runner: os.Getenv(runnerEnv), Listen: "127.0.0.1:0",
		Engine: engine.Config{
			CPUMillis: 2000, Memory: 1 << 30, DefaultCPUMillis: 1000, DefaultMemory: 64 << 20, MaxProcesses: 16, MaxActions: 100_000, SystemRetries: 3,
		},
		MaxQPS: 10_000, Grace: time.Second, OrphanGrace: time.Minute, EndAttempts: true, Log: log,
	}
}

// bench is a plane that runs in this process.
type bench struct {
	*testing.T
	clients
	state  string
	stop   context.CancelFunc
	ended  chan error
	stderr *record
}

// clients of a plane, over its real port.
type clients struct {
	base     string
	http     *http.Client
	runs     workflowconnect.RunServiceClient
	actions  actionsconnect.ActionsServiceClient
	data     dataproxyconnect.DataProxyServiceClient
	tasks    taskconnect.TaskServiceClient
	triggers triggerconnect.TriggerServiceClient
	projects projectconnect.ProjectServiceClient
	operator planev1connect.PlaneServiceClient
}

func connectTo(t *testing.T, address string) clients {
	base, transport := "http://"+address, &http.Transport{MaxIdleConnsPerHost: 128}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	return clients{
		base: base, http: client,
		runs:     workflowconnect.NewRunServiceClient(client, base),
		actions:  actionsconnect.NewActionsServiceClient(client, base),
		data:     dataproxyconnect.NewDataProxyServiceClient(client, base),
		tasks:    taskconnect.NewTaskServiceClient(client, base),
		triggers: triggerconnect.NewTriggerServiceClient(client, base),
		projects: projectconnect.NewProjectServiceClient(client, base),
		operator: planev1connect.NewPlaneServiceClient(client, base),
	}
}

// start runs a plane on a new state folder until the test ends.
func start(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	return startOn(t, filepath.Join(t.TempDir(), "state"))
}

func startOn(t *testing.T, state string, change ...func(*plane.Config)) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := &bench{T: t, state: state, stop: cancel, ended: make(chan error, 1), stderr: &record{}}
	ready := make(chan string, 1)
	log := slog.New(slog.NewTextHandler(b.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	settings := config(state, log)
	for _, c := range change {
		c(&settings)
	}
	go func() {
		err := plane.Run(ctx, settings, func(address string) { ready <- address })
		b.ended <- err
		close(b.ended)
	}()
	t.Cleanup(func() {
		b.close()
		if t.Failed() {
			t.Logf("the plane's log:\n%s", b.stderr.text())
		}
	})
	select {
	case address := <-ready:
		b.clients = connectTo(t, address)
	case err := <-b.ended:
		t.Fatalf("the plane ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the plane did not become ready")
	}
	return b
}

// close stops the plane as a signal does. Repeating it does nothing.
func (b *bench) close() {
	b.Helper()
	b.stop()
	select {
	case err := <-b.ended:
		if err != nil {
			b.Errorf("the plane ended with %v", err)
		}
	case <-time.After(patience):
		b.Fatal("the plane did not end")
	}
}

// record is the log of a plane.
type record struct {
	mu   sync.Mutex
	kept strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept.Write(p)
}

func (r *record) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept.String()
}

// until waits for something that has no signal of its own.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
