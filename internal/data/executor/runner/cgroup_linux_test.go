package runner

import (
	"os"
	"path/filepath"
	"testing"
)

// What a kernel without the memory controller in version 2 cannot show is shown on plain files here.
func TestCgroupFiles(t *testing.T) {
	parent, here := t.TempDir(), t.TempDir()
	t.Chdir(here)
	spec := Spec{Cgroup: parent, MemoryLimit: 1 << 20, CPUMillis: 2500}
	bare, err := makeCgroup(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer bare.dir.Close()
	if bare.limitsMemory() || bare.weighs() || bare.oomKilled() || bare.peak() != 0 {
		t.Fatal("a group without controllers claims to have some")
	}
	if entries, err := os.ReadDir(bare.path); err != nil || len(entries) != 0 {
		t.Fatalf("files were made: %v, %v", entries, err)
	}
	for name, content := range map[string]string{
		"memory.max": "", "memory.swap.max": "", "memory.oom.group": "", "cpu.weight": "", "memory.peak": "12345\n",
		"memory.events": "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 1\n", "cgroup.events": "populated 0\nfrozen 0\n",
	} {
		if err := os.WriteFile(filepath.Join(bare.path, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	group, err := makeCgroup(spec) // the same folder: of a runner that vanished
	if err != nil {
		t.Fatal(err)
	}
	defer group.dir.Close()
	if group.path != bare.path || !group.limitsMemory() || !group.weighs() || !group.oomKilled() || group.peak() != 12345 {
		t.Fatalf("%+v", group)
	}
	for name, want := range map[string]string{"memory.max": "1048576", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.weight": "250"} {
		if got, err := os.ReadFile(filepath.Join(group.path, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, want %q (%v)", name, got, want, err)
		}
	}
}

func TestNoCgroup(t *testing.T) {
	t.Parallel()
	var none *cgroup
	none.kill()
	if none.limitsMemory() || none.weighs() || none.oomKilled() || none.peak() != 0 {
		t.Fatal("no group claims to be one")
	}
}

func TestSharedMemoryCountsOnce(t *testing.T) {
	t.Parallel()
	// This process with itself: resident sizes count twice what is proportional once per asking.
	pid := os.Getpid()
	alone := proportionalSize(pid)
	if alone <= 0 || alone > residentSize(pid)+1<<20 {
		t.Fatalf("proportional %d, resident %d", alone, residentSize(pid))
	}
	if got := residentMemory([]int{pid}, 1); got <= 0 {
		t.Fatalf("%d bytes over the limit", got)
	}
	if residentSize(1<<30) != 0 || proportionalSize(1<<30) != 0 {
		t.Fatal("a process that does not exist holds memory")
	}
}
