package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"biplane.dev/biplane/internal/data/executor/runner"
)

// DelegatedCgroup prepares this process's control group (version 2) for the groups of attempts and returns its folder, for
// ProcessOptions.Cgroup. The group must belong to this process alone, as a service manager (Delegate=yes) or a container gives it;
// the error says why it does not. It moves this process into a group below, because the kernel wants processes in leaves only.
func DelegatedCgroup() (string, error) {
	own := runner.OwnCgroup()
	if own == "" {
		return "", errors.New("control groups of version 2 are not mounted")
	}
	return own, delegate(own, os.Getpid())
}

func delegate(own string, pid int) error {
	if _, err := os.Stat(filepath.Join(own, "cgroup.events")); err != nil {
		return errors.New("the process is in the root control group, which is the machine's")
	}
	controllers, err := words(own, "cgroup.controllers")
	if err != nil {
		return err
	}
	var enable []string
	for _, controller := range controllers {
		if controller == "memory" || controller == "cpu" {
			enable = append(enable, "+"+controller)
		}
	}
	if len(enable) == 0 {
		return errors.New("neither memory nor cpu can be controlled in this control group")
	}
	members, err := words(own, "cgroup.procs")
	if err != nil {
		return err
	}
	if len(members) != 1 || members[0] != strconv.Itoa(pid) {
		return fmt.Errorf("the control group also holds other processes (%d in all)", len(members))
	}
	leaf := filepath.Join(own, "plane")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := put(leaf, "cgroup.procs", strconv.Itoa(pid)); err != nil {
		return err
	}
	return put(own, "cgroup.subtree_control", strings.Join(enable, " "))
}

func words(group, file string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(group, file))
	return strings.Fields(string(data)), err
}

func put(group, name, value string) error {
	file, err := os.OpenFile(filepath.Join(group, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value)
	return errors.Join(err, file.Close())
}
