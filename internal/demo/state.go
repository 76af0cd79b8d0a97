package demo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"biplane.dev/biplane/internal/fault"
)

// stateVersion is the layout of the state folder. A folder of a newer layout is refused before anything is touched.
const stateVersion = 1

// DefaultState is the folder below the user's data folder.
func DefaultState() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "biplane"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fault.New(fault.KindPrecondition, "there is no home folder for the demo's state; name one with --state DIR")
	}
	return filepath.Join(home, ".local", "share", "biplane"), nil
}

func (d *demo) openState() error {
	standard, _ := DefaultState()
	switch {
	case d.Ephemeral && d.State == "":
		dir, err := os.MkdirTemp("", "biplane-demo-")
		if err != nil {
			return fault.Wrap(err, fault.KindPrecondition, "no temporary folder could be made: %v", err)
		}
		d.State = dir
	case d.State == "":
		d.State = standard
	}
	var err error
	if d.State, err = filepath.Abs(d.State); err != nil {
		return err
	}
	d.isDefault = d.State == standard
	for _, name := range []string{"control", "data", "logs"} {
		if err := os.MkdirAll(d.folder(name), 0o700); err != nil {
			return fault.Wrap(err, fault.KindPrecondition, "the state folder %s cannot be written: %v; name another with --state DIR", d.State, reason(err))
		}
	}
	if d.lock, err = os.OpenFile(d.folder("demo.lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fault.Wrap(err, fault.KindPrecondition, "the state folder %s cannot be written: %v; name another with --state DIR", d.State, reason(err))
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fault.New(fault.KindPrecondition, "a demo runs already on %s; use it (flyte --config %s …), stop it, or name another folder with --state DIR", d.State, d.folder("flyte.yaml"))
		}
		return err
	}
	return d.checkVersion()
}

// reason is the last part of a path error: the path has been named already.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (d *demo) checkVersion() error {
	raw, err := os.ReadFile(d.folder("version"))
	if errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(d.folder("version"), []byte(strconv.Itoa(stateVersion)+"\n"), 0o600)
	}
	if err != nil {
		return err
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return fault.New(fault.KindPrecondition, "%s is not a demo's state folder: its version file holds %q; name another with --state DIR", d.State, strings.TrimSpace(string(raw)))
	}
	if version > stateVersion {
		return fault.New(fault.KindPrecondition, "the state folder %s was written by a newer biplane (layout %d, this one knows %d); use that one, or name another folder with --state DIR", d.State, version, stateVersion)
	}
	return nil
}

func (d *demo) closeState() error {
	if d.lock != nil {
		defer d.lock.Close()
	}
	if d.Ephemeral && d.lock != nil {
		return os.RemoveAll(d.State)
	}
	return nil
}

// firstTime says whether no first program has succeeded in this state folder.
func (d *demo) firstTime() bool {
	_, err := os.Stat(d.folder("first-program"))
	return err != nil
}

func checkPython() error {
	path, err := exec.LookPath("python3")
	if err != nil {
		return fault.New(fault.KindPrecondition, "python3 is not there, and tasks are Python programs; install it (Debian: apt-get install python3 python3-venv)")
	}
	out, err := exec.Command(path, "-c", "import sys; print(sys.version_info[0] * 100 + sys.version_info[1])").Output()
	if err != nil {
		return fault.New(fault.KindPrecondition, "%s does not work: %v", path, err)
	}
	if version, err := strconv.Atoi(strings.TrimSpace(string(out))); err != nil || version < 310 {
		return fault.New(fault.KindPrecondition, "%s is Python %s, and the flyte SDK needs 3.10 or newer; put a newer one first in PATH", path, fmt.Sprintf("%d.%d", version/100, version%100))
	}
	return nil
}
