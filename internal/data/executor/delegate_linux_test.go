package executor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func fakeGroup(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDelegate(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"cgroup.events": "populated 1\n", "cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.procs": "42\n",
		"cgroup.subtree_control": "", "plane/cgroup.procs": "",
	}
	group := fakeGroup(t, files)
	if err := delegate(group, 42); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"plane/cgroup.procs": "42", "cgroup.subtree_control": "+cpu +memory"} {
		if got, err := os.ReadFile(filepath.Join(group, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, want %q (%v)", name, got, want, err)
		}
	}
	for what, change := range map[string]map[string]string{
		"root control group": {"cgroup.events": ""},
		"other processes":    {"cgroup.procs": "42\n43\n"},
		"neither memory":     {"cgroup.controllers": "hugetlb\n"},
	} {
		changed := map[string]string{}
		for name, content := range files {
			changed[name] = content
		}
		for name, content := range change {
			changed[name] = content
			if content == "" {
				delete(changed, name)
			}
		}
		group := fakeGroup(t, changed)
		if err := delegate(group, 42); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want an error about %q, got %v", what, err)
		}
		if got, err := os.ReadFile(filepath.Join(group, "plane/cgroup.procs")); err != nil || len(got) != 0 {
			t.Errorf("%s: the process was moved all the same: %q, %v", what, got, err)
		}
	}
}
