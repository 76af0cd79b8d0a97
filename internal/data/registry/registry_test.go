package registry_test

import (
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/project/projectconnect"
	"biplane.dev/biplane/gen/flyteidl2/settings/settingsconnect"
	"biplane.dev/biplane/gen/flyteidl2/task/taskconnect"
	"biplane.dev/biplane/gen/flyteidl2/trigger/triggerconnect"
	"biplane.dev/biplane/internal/data/registry"
	"biplane.dev/biplane/internal/rpc"
	"biplane.dev/biplane/internal/store"
)

// plane is a registry served over real connections.
type plane struct {
	registry *registry.Registry
	db       store.DB
	projects projectconnect.ProjectServiceClient
	tasks    taskconnect.TaskServiceClient
	triggers triggerconnect.TriggerServiceClient
	settings settingsconnect.SettingsServiceClient
}

func open(t *testing.T, path string) (store.DB, *registry.Registry) {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), path, registry.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r, err := registry.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return db, r
}

func serve(t *testing.T) plane {
	t.Helper()
	db, r := open(t, filepath.Join(t.TempDir(), "x.db"))
	server, err := rpc.New(rpc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server.Handle(projectconnect.NewProjectServiceHandler(registry.NewProjectService(r), server.Options()...))
	server.Handle(taskconnect.NewTaskServiceHandler(registry.NewTaskService(r, nil), server.Options()...))
	server.Handle(triggerconnect.NewTriggerServiceHandler(registry.NewTriggerService(r), server.Options()...))
	server.Handle(settingsconnect.NewSettingsServiceHandler(registry.NewSettingsService(r), server.Options()...))
	host := httptest.NewServer(server)
	t.Cleanup(host.Close)
	client := host.Client()
	return plane{
		registry: r, db: db,
		projects: projectconnect.NewProjectServiceClient(client, host.URL),
		tasks:    taskconnect.NewTaskServiceClient(client, host.URL),
		triggers: triggerconnect.NewTriggerServiceClient(client, host.URL),
		settings: settingsconnect.NewSettingsServiceClient(client, host.URL),
	}
}

// refused fails the test unless err has the code and says the words.
func refused(t *testing.T, err error, code connect.Code, words ...string) {
	t.Helper()
	if connect.CodeOf(err) != code || err == nil {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// badNames must not be accepted anywhere.
var badNames = []string{
	"", ".", "..", "../x", "a/b", "a\\b", "/etc", "%2e%2e", "a\x00b", "a\nb", "-flag", ".hidden", "file://x", "tаsk", "ta\u200bsk",
	strings.Repeat("a", 201),
}

// changes says how many numbers of the change sequence a call drew.
func (p plane) changes(call func()) int64 {
	before := p.db.Seq()
	call()
	return p.db.Seq() - before
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
