package runner

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroup is the attempt's own control group (version 2), below the one that was delegated to the plane. A nil one is an
// attempt without: every method then says that nothing is done.
type cgroup struct {
	path   string
	dir    *os.File
	memory bool // the kernel enforces the limit
	cpu    bool // the kernel weighs
}

const removeLimit = 2 * time.Second

// openCgroup makes the attempt's group, or leaves the attempt without one: measuring and killing do for it then.
func (a *attempt) openCgroup() {
	if a.spec.Cgroup == "" {
		return
	}
	group, err := makeCgroup(a.spec)
	if err != nil {
		fmt.Fprintln(os.Stderr, "biplane-runner: without a cgroup:", err)
		return
	}
	a.group = group
}

func makeCgroup(spec Spec) (*cgroup, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(here)) // never fails
	path := filepath.Join(spec.Cgroup, fmt.Sprintf("attempt-%016x", hash.Sum64()))
	if err := os.Mkdir(path, 0o755); errors.Is(err, fs.ErrExist) {
		KillCgroup(path) // of a runner that vanished
	} else if err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	group := &cgroup{path: path, dir: dir}
	if spec.MemoryLimit > 0 && group.set("memory.max", spec.MemoryLimit) == nil {
		group.memory = true
		_ = group.set("memory.swap.max", 0)  // no swap controller: then there is nothing to forbid
		_ = group.set("memory.oom.group", 1) // half a task is of no use
	}
	millis := spec.CPUMillis
	if millis <= 0 {
		millis = 1000
	}
	group.cpu = group.set("cpu.weight", min(max(1, millis/10), 10_000)) == nil // 100 is the kernel's default weight
	return group, nil
}

func (g *cgroup) set(name string, value int64) error {
	// Without O_CREATE: a controller that is not there must not become a file in a folder that is no cgroup.
	file, err := os.OpenFile(filepath.Join(g.path, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(strconv.FormatInt(value, 10))
	return errors.Join(err, file.Close())
}

func (g *cgroup) weighs() bool       { return g != nil && g.cpu }
func (g *cgroup) limitsMemory() bool { return g != nil && g.memory }

func (g *cgroup) kill() {
	if g != nil {
		_ = g.set("cgroup.kill", 1) // Linux 5.14; killing by descent does the same
	}
}

func (g *cgroup) oomKilled() bool {
	if g == nil {
		return false
	}
	count, _ := field(filepath.Join(g.path, "memory.events"), "oom_kill")
	return count > 0
}

func (g *cgroup) peak() int64 {
	if g == nil {
		return 0
	}
	data, err := os.ReadFile(filepath.Join(g.path, "memory.peak")) // Linux 5.19
	if err != nil {
		return 0
	}
	peak, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return peak
}

func (g *cgroup) remove() {
	_ = g.dir.Close() // opened for the start only
	if err := KillCgroup(g.path); err == nil {
		_ = syscall.Rmdir(g.path) // else the plane's next sweep does it
	}
}

// KillCgroup kills all processes of a cgroup and waits, not for long, until it is empty.
func KillCgroup(path string) error {
	group := &cgroup{path: path}
	for deadline := time.Now().Add(removeLimit); ; time.Sleep(killEvery) {
		populated, ok := field(filepath.Join(path, "cgroup.events"), "populated")
		if !ok || populated == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s does not become empty", path)
		}
		group.kill()
	}
}

// OwnCgroup is the folder of this process's cgroup, empty where version 2 is not mounted.
func OwnCgroup() string {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				if _, err := os.Stat(mount + "/cgroup.controllers"); err == nil {
					return filepath.Join(mount, path)
				}
			}
		}
	}
	return ""
}
