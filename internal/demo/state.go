package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// predecessorTimeout is longer than a data plane takes to end its tasks.
const predecessorTimeout = 30 * time.Second

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
	if err := d.checkVersion(); err != nil {
		return err
	}
	if err := d.checkEphemeral(); err != nil {
		return err
	}
	for _, name := range []string{"control", "data", "logs"} {
		if err := os.MkdirAll(d.folder(name), 0o700); err != nil {
			return d.unwritable(err)
		}
	}
	if d.lock, err = os.OpenFile(d.folder("demo.lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return d.unwritable(err)
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fault.New(fault.KindPrecondition, "a demo runs already on %s; use it (flyte --config %s …), stop it, or name another folder with --state DIR", d.State, d.folder("flyte.yaml"))
		}
		return err
	}
	return os.WriteFile(d.folder("version"), []byte(strconv.Itoa(stateVersion)+"\n"), 0o600)
}

// checkEphemeral refuses to remove later what this demo did not make.
func (d *demo) checkEphemeral() error {
	if !d.Ephemeral {
		return nil
	}
	entries, err := os.ReadDir(d.State)
	if len(entries) > 0 {
		return fault.New(fault.KindPrecondition, "%s is not empty, and --ephemeral would remove it at the end; name a new folder, or leave --state out", d.State)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return d.unwritable(err)
	}
	return nil
}

func (d *demo) unwritable(err error) error {
	return fault.Wrap(err, fault.KindPrecondition, "the state folder %s cannot be used: %v; name another with --state DIR", d.State, reason(err))
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
		return nil
	}
	if err != nil {
		return d.unwritable(err)
	}
	if len(raw) == 0 { // killed while it was written
		return nil
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

// awaitPredecessor waits until the planes of a demo that was killed have gone: they end their tasks first.
func (d *demo) awaitPredecessor(ctx context.Context) (err error) {
	if d.alive, err = os.OpenFile(d.folder("planes.lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return d.unwritable(err)
	}
	deadline, told := time.Now().Add(predecessorTimeout), false
	for {
		if err = syscall.Flock(int(d.alive.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(deadline) {
			return fault.New(fault.KindPrecondition, "biplane-control or biplane-data of an earlier demo still runs on %s and does not end; end it, or name another folder with --state DIR", d.State)
		}
		if !told {
			fmt.Fprintln(d.Err, "biplane demo: the planes of an earlier demo are ending; waiting for them")
			told = true
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// checkPort says what the planes would say in words of their own flags.
func (d *demo) checkPort(ctx context.Context) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", d.Port))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.New(fault.KindPrecondition, "port %d is in use; name another with --port N, where 0 is any free one", d.Port)
	case err != nil:
		return fault.New(fault.KindPrecondition, "port %d cannot be used: %v; name another with --port N, where 0 is any free one", d.Port, err)
	}
	return listener.Close()
}

func (d *demo) closeState() (err error) {
	if d.Ephemeral {
		err = os.RemoveAll(d.State)
	}
	if d.alive != nil {
		err = errors.Join(err, d.alive.Close())
	}
	return errors.Join(err, d.lock.Close())
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
