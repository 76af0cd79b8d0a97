package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"biplane.dev/biplane/internal/data/executor/runner"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// SecretsPlaceholder in a value of Command.Env becomes the absolute path of the attempt's private secrets folder.
const SecretsPlaceholder = "{{secrets}}"

// DefaultOrphanGrace is how long attempts go on without a plane when the setting is zero.
const DefaultOrphanGrace = 5 * time.Minute

// specTimeout is how long a runner may take to read its spec.
const specTimeout = 30 * time.Second

// ProcessOptions are what a Process needs. All but Logger, LogLimits, OrphanGrace and Cgroup must be set.
type ProcessOptions struct {
	Root        string                        // folder of the attempts; one plane at a time uses it
	Runner      string                        // path of the program biplane-runner
	Events      Events                        // told of starts and ends
	LogPath     func(id names.Attempt) string // absolute path of an attempt's log file
	LogLimits   logs.Limits
	OrphanGrace time.Duration // how long attempts go on when the plane is gone
	Cgroup      string        // see DelegatedCgroup; empty is none
	Logger      *slog.Logger
}

// Process runs each attempt as a process of this machine, beside a runner that outlives the plane.
//
// An attempt costs one goroutine, one pipe and no thread while this plane's own runner is alive, and a look at a lock every
// adoptedEvery when the runner is of an earlier life.
type Process struct {
	options   ProcessOptions
	folders   *folders
	planeLock *runner.Lock
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	tasks     background
	wake      chan struct{} // the janitor
	ended     chan struct{} // Close: an attempt has ended

	mu       sync.Mutex
	closed   bool
	attempts map[names.Attempt]*attempt
	polling  bool // the adopted ones
}

var _ Executor = (*Process)(nil)

// NewProcess takes the folder for this plane. Attempts of earlier lives stay as they are until Start, Adopt or Sweep.
func NewProcess(options ProcessOptions) (*Process, error) {
	if options.OrphanGrace <= 0 {
		options.OrphanGrace = DefaultOrphanGrace
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	program, err := filepath.Abs(options.Runner)
	if err == nil {
		_, err = exec.LookPath(program)
	}
	if err != nil {
		return nil, fmt.Errorf("process executor: the runner: %w", err)
	}
	options.Runner = program
	folders, err := openFolders(options.Root)
	if err != nil {
		return nil, fmt.Errorf("process executor: %w", err)
	}
	lock, err := runner.Hold(folders.planeLock())
	if errors.Is(err, runner.ErrHeld) {
		return nil, fault.New(fault.KindPrecondition, "another data plane uses the folder %s; stop it first", folders.root)
	}
	if err != nil {
		return nil, fmt.Errorf("process executor: %w", err)
	}
	p := &Process{options: options, folders: folders, planeLock: lock, attempts: make(map[names.Attempt]*attempt)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wake, p.ended = make(chan struct{}, 1), make(chan struct{}, 1)
	p.goDo(p.janitor)
	notify(p.wake) // what an earlier life discarded
	return p, nil
}

// attempt is what this life of the plane knows of one.
type attempt struct {
	id    names.Attempt
	tried chan struct{} // closed when err is known
	err   error         // why nothing could be tried

	// Below, Process.mu is needed.
	process *os.Process // the runner, when it is our child
	adopted bool        // the runner is not our child: its lock is polled
	started bool        // Events.Started was told
	stopped bool        // Stop was asked before the end
	exit    *Exit       // once it has ended

	// For the goroutine that polls adopted attempts only.
	signalled  bool // a stop was passed on
	complained bool // in the log
}

// Start makes the attempt run, or takes charge of it if it runs or has run. When it returns an error nothing was started and
// the call may be made again.
func (p *Process) Start(ctx context.Context, command Command) error {
	if err := checkCommand(command); err != nil {
		return err
	}
	a, known, err := p.enter(command.ID)
	if err != nil {
		return err
	}
	if known {
		return p.tellAgain(ctx, a)
	}
	err = p.begin(a, command)
	p.mu.Lock()
	a.err = err
	if err != nil {
		delete(p.attempts, a.id)
	}
	p.mu.Unlock()
	close(a.tried)
	return err
}

func checkCommand(command Command) error {
	if err := check(command.ID); err != nil {
		return err
	}
	if len(command.Args) == 0 {
		return fault.Invalid("container.args", "is empty; it must name the program to run")
	}
	for _, file := range command.Files {
		if !filepath.IsLocal(file.Path) {
			return fault.Invalid("secret.path", "must stay within the attempt's secrets folder, got %q", file.Path)
		}
	}
	return nil
}

// enter makes the entry of an attempt, or returns the one that is there.
func (p *Process) enter(id names.Attempt) (a *attempt, known bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, known := p.attempts[id]; known {
		return a, true, nil
	}
	if p.closed {
		return nil, false, fault.New(fault.KindUnavailable, "the executor is shutting down")
	}
	a = &attempt{id: id, tried: make(chan struct{})}
	p.attempts[id] = a
	return a, false, nil
}

// tellAgain waits until it is certain that a is tried, and repeats what can be said of it.
func (p *Process) tellAgain(ctx context.Context, a *attempt) error {
	select {
	case <-a.tried:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	exit, err := a.exit, a.err
	p.mu.Unlock()
	if exit != nil {
		p.goDo(func() { p.options.Events.Ended(*exit) })
	}
	return err
}

// begin looks at what earlier lives have left of the attempt and starts a runner if that is nothing.
func (p *Process) begin(a *attempt, command Command) error {
	if err := p.folders.make(a.id); err != nil {
		_ = p.folders.discard(a.id) // as far as it came to be
		return startFault(err)
	}
	found, err := p.takeOver(a)
	if err != nil {
		return fault.Wrap(err, fault.KindInternal, "the state of attempt %d of %s cannot be read", a.id.Number, a.id.Action.Action)
	}
	if found {
		return nil
	}
	err = p.seed(a, command)
	if err == nil {
		err = p.spawn(a, command)
	}
	if err != nil {
		_ = p.folders.discard(a.id) // an empty one that stays does no harm
		return startFault(err)
	}
	return nil
}

// seed prepares the working folder's content beside it. The runner takes it from there when it makes the folder, so that a
// crash half-way through leaves nothing that could be taken for whole.
func (p *Process) seed(a *attempt, command Command) error {
	folder := filepath.Join(p.folders.path(a.id), runner.SeedDir)
	if err := os.RemoveAll(folder); err != nil || command.Seed == nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	return command.Seed(folder)
}

func startFault(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EMFILE) {
		return fault.Wrap(err, fault.KindExhausted, "the machine has no room to start a task; free some or wait")
	}
	return fault.Wrap(err, fault.KindUnavailable, "the task could not be started")
}

// spawn starts a runner for the attempt and gives it the spec. With an error there is no runner. From a crash at any point follows either no task (a spec that
// is cut short starts nothing) or a runner that holds the lock.
func (p *Process) spawn(a *attempt, command Command) error {
	folder := p.folders.path(a.id)
	output, err := os.OpenFile(filepath.Join(folder, runner.OutputFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer specWrite.Close()
	defer specRead.Close()
	reports, reportWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reportWrite.Close()
	cmd := &exec.Cmd{
		Path: p.options.Runner,
		// The name is for people who look at the list of processes.
		Args: []string{"biplane-runner", fmt.Sprintf("%s/%d", a.id.Action, a.id.Number)},
		Dir:  folder,
		// Two threads are plenty, and make a runner start fast on a large machine.
		Env:         []string{"GOMAXPROCS=2"},
		Stdin:       specRead,
		Stdout:      reportWrite,
		Stderr:      output,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // Ctrl-C in the plane's terminal is not for it
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, reports.Close())
	}
	p.mu.Lock()
	a.process = cmd.Process
	if a.stopped { // asked while the runner was being started
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	p.mu.Unlock()
	_ = specRead.Close() // so that writing fails when the runner is gone
	_ = reportWrite.Close()
	_ = specWrite.SetWriteDeadline(time.Now().Add(specTimeout)) // a pipe has deadlines
	if err := json.NewEncoder(specWrite).Encode(p.spec(a.id, command)); err != nil {
		// What became of the runner is found out by watching it, like any other end.
		p.options.Logger.Error("a runner did not take its spec", "attempt", a.id, "error", err)
	}
	p.goDo(func() { p.watch(a, reports) })
	return nil
}

func (p *Process) spec(id names.Attempt, command Command) runner.Spec {
	secrets := filepath.Join(p.folders.path(id), runner.SecretsDir)
	env := make([]string, 0, len(command.Env))
	for _, key := range slices.Sorted(maps.Keys(command.Env)) {
		env = append(env, key+"="+strings.ReplaceAll(command.Env[key], SecretsPlaceholder, secrets))
	}
	files := make([]runner.File, len(command.Files))
	for i, file := range command.Files {
		files[i] = runner.File{Path: file.Path, Content: file.Content}
	}
	return runner.Spec{
		Args: command.Args, Env: env, Files: files,
		MemoryLimit: command.MemoryLimit, CPUMillis: command.CPUMillis, Grace: command.Grace,
		Log: p.options.LogPath(id), LogLimits: p.options.LogLimits,
		PlaneLock: p.folders.planeLock(), OrphanGrace: p.options.OrphanGrace,
		Cgroup: p.options.Cgroup,
	}
}

// Known says whether this or an earlier life has begun to start the attempt, and has not forgotten it.
func (p *Process) Known(id names.Attempt) bool {
	if check(id) != nil {
		return false
	}
	p.mu.Lock()
	_, known := p.attempts[id]
	p.mu.Unlock()
	return known || p.folders.exists(id)
}

// Stop ends the attempt with its command's grace.
func (p *Process) Stop(id names.Attempt, reason string) {
	a := p.load(id)
	if a == nil {
		return
	}
	p.mu.Lock()
	if a.exit != nil || a.stopped {
		p.mu.Unlock()
		return
	}
	a.stopped = true
	p.mu.Unlock()
	// The reason goes into the attempt's log. Without it the stop is the same.
	_ = os.WriteFile(filepath.Join(p.folders.path(id), runner.StopFile), []byte(reason), 0o600)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signal(a)
}

// signal passes a stop on to the runner. It needs mu. One that is being started gets it from spawn, one that was taken
// over and has not ended from the poll.
func (p *Process) signal(a *attempt) {
	if a.process != nil && !a.adopted {
		if err := a.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			p.options.Logger.Error("a runner cannot be signalled", "attempt", a.id, "error", err)
		}
	}
}

// Forget removes the folder of an attempt that has ended. One that has not is left alone.
func (p *Process) Forget(id names.Attempt) {
	if check(id) != nil {
		return
	}
	p.mu.Lock()
	a := p.attempts[id]
	if a != nil && a.exit == nil {
		p.mu.Unlock()
		return
	}
	delete(p.attempts, id)
	p.mu.Unlock()
	if a == nil {
		// Of an earlier life: its folder goes if nothing is alive in it.
		if held, err := p.folders.isHeld(id); held || err != nil || !p.folders.exists(id) {
			return
		}
	}
	if err := p.folders.discard(id); err != nil {
		p.options.Logger.Error("an attempt's folder cannot be removed", "attempt", id, "error", err)
	}
	notify(p.wake)
}
