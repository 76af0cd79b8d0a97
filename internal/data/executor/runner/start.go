package runner

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"biplane.dev/biplane/internal/data/logs"
)

// start makes the folders and starts the task. Nothing is running when it fails.
func (a *attempt) start(signals <-chan os.Signal) (*output, error) {
	if err := becomeSubreaper(); err != nil {
		return nil, err
	}
	if err := reserve(folder); err != nil {
		return nil, plain(err)
	}
	if err := a.makeFolders(); err != nil {
		return nil, plain(err)
	}
	program, err := lookUp(a.spec.Args[0], a.spec.Env)
	if err != nil {
		return nil, err
	}
	a.openCgroup()
	a.oom.begin()
	select {
	case <-signals:
		return nil, errStopped
	default:
	}
	out, err := newOutput()
	if err != nil {
		return nil, plain(err)
	}
	defer out.closeWriters()
	a.pid, err = syscall.ForkExec(program, a.spec.Args, &syscall.ProcAttr{
		Dir: WorkDir, Env: a.spec.Env, Sys: a.attributes(),
		Files: []uintptr{out.null.Fd(), out.write[0].Fd(), out.write[1].Fd()}, // Fd makes them blocking, as programs expect
	})
	if err != nil {
		out.closeReaders()
		return nil, startError(program, err)
	}
	a.task = Task{PID: a.pid, Boot: bootID(), Ticks: startTicks(a.pid), At: time.Now().UTC()}
	if a.group != nil {
		a.task.Cgroup = a.group.path
	}
	if err := writeJSON(folder, TaskFile, a.task); err != nil {
		// Room was reserved, so the folder is gone or broken: the task still runs, and this plane knows of it.
		fmt.Fprintln(os.Stderr, "biplane-runner:", err)
	}
	a.report(Report{Task: &a.task})
	a.setPriority()
	out.pump(a.log)
	return out, nil
}

func (a *attempt) makeFolders() error {
	// What an earlier runner left that did not come to start anything.
	if err := errors.Join(os.RemoveAll(filepath.Join(folder, WorkDir)), os.RemoveAll(filepath.Join(folder, SecretsDir))); err != nil {
		return err
	}
	err := os.Rename(filepath.Join(folder, SeedDir), filepath.Join(folder, WorkDir))
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Mkdir(filepath.Join(folder, WorkDir), 0o700)
	}
	if err != nil {
		return err
	}
	for _, file := range a.spec.Files {
		if !filepath.IsLocal(file.Path) {
			return fmt.Errorf("the path of a secret file leads out of its folder: %q", file.Path)
		}
		path := filepath.Join(folder, SecretsDir, file.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, file.Content, 0o400); err != nil {
			return err
		}
	}
	return nil
}

// plain drops the path of a folder of ours from an error that a user will read.
func plain(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return fmt.Errorf("prepare the attempt's folder: %w", errno)
	}
	return err
}

// badCommand is an error of the command itself: trying again would not help.
type badCommand struct{ error }

func startError(program string, err error) error {
	switch {
	case errors.Is(err, syscall.E2BIG):
		return badCommand{errors.New("its arguments and environment are larger than the system allows")}
	case errors.Is(err, syscall.EINVAL):
		return badCommand{errors.New("its arguments or environment hold a NUL character")}
	case errors.Is(err, syscall.ENOENT):
		return badCommand{fmt.Errorf("start %q: the program, or the interpreter that its first line names, does not exist", program)}
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.ENOTDIR):
		return badCommand{fmt.Errorf("start %q: %w", program, err)}
	}
	return fmt.Errorf("start %q: %w", program, err)
}

// lookUp finds the program as a shell would with the task's own PATH; relative folders are meant from the task's working
// directory.
func lookUp(program string, env []string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	if program == "" {
		return "", badCommand{errors.New("the name of the program is empty")}
	}
	path := ""
	for _, variable := range env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path = value
		}
	}
	var denied bool
	for _, dir := range filepath.SplitList(path) {
		candidate := filepath.Join(dir, program)
		from := candidate
		if !filepath.IsAbs(candidate) {
			candidate = "./" + candidate
			from = filepath.Join(WorkDir, candidate)
		}
		info, err := os.Stat(from)
		if err != nil || info.IsDir() {
			continue
		}
		if info.Mode()&0o111 != 0 {
			return candidate, nil
		}
		denied = true
	}
	if denied {
		return "", badCommand{fmt.Errorf("the program %q in PATH is not executable", program)}
	}
	return "", badCommand{fmt.Errorf("there is no program %q in PATH (%s)", program, path)}
}

// output is the task's standard output and error.
type output struct {
	null  *os.File
	read  [2]*os.File
	write [2]*os.File
	pumps sync.WaitGroup
}

func newOutput() (*output, error) {
	var o output
	var err error
	if o.null, err = os.Open(os.DevNull); err != nil {
		return nil, err
	}
	for i := range o.read {
		if o.read[i], o.write[i], err = os.Pipe(); err != nil {
			o.closeWriters()
			o.closeReaders()
			return nil, err
		}
	}
	return &o, nil
}

func (o *output) closeWriters() { closeAll(o.null, o.write[0], o.write[1]) }
func (o *output) closeReaders() { closeAll(o.read[0], o.read[1]) }

func closeAll[C io.Closer](files ...C) {
	for _, file := range files {
		_ = file.Close() // pipes; closing one that was never opened is an error and harmless
	}
}

func (o *output) pump(log *logs.Writer) {
	for i, stream := range []logs.Stream{logs.Stdout, logs.Stderr} {
		o.pumps.Go(func() {
			if err := log.Pump(stream, o.read[i]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				fmt.Fprintln(os.Stderr, "biplane-runner: read the task's output:", err)
			}
		})
	}
}

// drain returns when all that the task printed is in the log. Everything of the attempt is dead then, so the pipes end; only
// if their write ends were handed to a stranger they do not.
func (o *output) drain() {
	deadline := time.Now().Add(drainLimit)
	for _, file := range o.read {
		_ = file.SetReadDeadline(deadline) // pipes have deadlines
	}
	o.pumps.Wait()
	o.closeReaders()
}
