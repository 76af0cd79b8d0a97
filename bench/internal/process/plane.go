package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = time.Minute
	stopTimeout  = 30 * time.Second
)

// Programs says where the binaries are and what the planes share.
type Programs struct {
	Folder string // of biplane, biplane-data, biplane-control, biplane-runner
	Cache  string // of Python environments; "" is the user's
	Python string // interpreter of the base environment; "" is the plane's default
}

// Plane is a running data plane, and the control plane that it reports to where there is one.
type Plane struct {
	State   string // folder of everything; removed by Stop
	URL     string // of the gateway
	Data    int    // process id of biplane-data
	Control int    // process id of biplane-control; 0 when there is none

	command *exec.Cmd
	stdin   io.Closer
	exited  chan struct{}
	log     string
}

// StartData starts a data plane by itself on a new state folder.
func StartData(ctx context.Context, p Programs, flags ...string) (*Plane, error) {
	return start(ctx, func(plane *Plane) (*exec.Cmd, string) {
		args := []string{"--state", plane.State, "--lifeline", "--end-attempts", "--grace", "2s", "--orphan-grace", "15s", "--log-level", "warn"}
		if p.Cache != "" {
			args = append(args, "--cache", p.Cache)
		}
		if p.Python != "" {
			args = append(args, "--python", p.Python)
		}
		return exec.Command(filepath.Join(p.Folder, "biplane-data"), append(args, flags...)...), filepath.Join(plane.State, "gateway.addr")
	})
}

// StartBoth starts both planes as `biplane demo` does.
func StartBoth(ctx context.Context, p Programs) (*Plane, error) {
	plane, err := start(ctx, func(plane *Plane) (*exec.Cmd, string) {
		args := []string{"--state", plane.State, "demo", "--serve", "--port", "0"}
		if p.Cache != "" {
			args = append(args, "--cache", p.Cache)
		}
		return exec.Command(filepath.Join(p.Folder, "biplane"), args...), filepath.Join(plane.State, "data", "gateway.addr")
	})
	if err != nil {
		return nil, err
	}
	if plane.Data, err = child(plane.command.Process.Pid, "biplane-data"); err == nil {
		plane.Control, err = child(plane.command.Process.Pid, "biplane-control")
	}
	if err != nil {
		return nil, errors.Join(err, plane.Stop())
	}
	return plane, nil
}

func start(ctx context.Context, build func(*Plane) (command *exec.Cmd, addressFile string)) (plane *Plane, err error) {
	plane = &Plane{exited: make(chan struct{})}
	if plane.State, err = os.MkdirTemp("", "biplane-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, plane.Stop())
		}
	}()
	plane.log = filepath.Join(plane.State, "bench.log")
	log, err := os.Create(plane.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	var addressFile string
	plane.command, addressFile = build(plane)
	plane.command.Stdout, plane.command.Stderr = log, log
	// A group of its own: Ctrl-C reaches the benchmark alone, which then stops the plane. A benchmark that is killed closes the
	// pipe, and the plane ends with it.
	plane.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if plane.stdin, err = plane.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := plane.command.Start(); err != nil {
		return nil, fmt.Errorf("start the plane: %w (make build makes the binaries)", err)
	}
	plane.Data = plane.command.Process.Pid
	go func() {
		_ = plane.command.Wait()
		close(plane.exited)
	}()
	address, err := plane.await(ctx, addressFile)
	if err != nil {
		return nil, err
	}
	plane.URL = "http://localhost" + address[strings.LastIndexByte(address, ':'):]
	return plane, nil
}

// await polls for the file that a plane writes when it accepts work.
func (p *Plane) await(ctx context.Context, file string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if raw, err := os.ReadFile(file); err == nil && bytes.HasSuffix(raw, []byte("\n")) {
			return strings.TrimSpace(string(raw)), nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return "", fmt.Errorf("the plane ended at once: %s", p.Log())
		case <-ctx.Done():
			return "", fmt.Errorf("the plane does not get ready: %w; its log: %s", ctx.Err(), p.Log())
		}
	}
}

// Log is the end of what the plane has said.
func (p *Plane) Log() string {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	return string(raw[max(0, len(raw)-most):])
}

// Kept is the size of all files below the plane's folder, in bytes.
func (p *Plane) Kept() (total int64, err error) {
	err = filepath.WalkDir(p.State, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// Stop ends the plane and removes its folder.
func (p *Plane) Stop() error {
	if p.command != nil && p.command.Process != nil {
		_ = p.command.Process.Signal(syscall.SIGTERM)
		timer := time.NewTimer(stopTimeout)
		defer timer.Stop()
		select {
		case <-p.exited:
		case <-timer.C:
			_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
			<-p.exited
		}
	}
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	return os.RemoveAll(p.State)
}
