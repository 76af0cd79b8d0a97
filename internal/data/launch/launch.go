package launch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/recent"
)

// Environment is what an image stands for on this plane.
type Environment struct {
	Vars map[string]string // for the task's process, below what the task and the run set
	Path []string          // folders that come first in PATH
	// Seed fills the attempt's working folder; nil when the image has no files for it.
	Seed func(folder string) error
	// Release says that the attempt has ended: until then the environment is not collected.
	Release func()
}

// Images resolves the image of a task. A fault of KindInvalid, KindUnsupported or KindNotFound is the task's own fault.
type Images interface {
	Environment(ctx context.Context, image string) (Environment, error)
}

// Secrets looks up the secrets of a task and says how it is to see them.
type Secrets interface {
	Deliver(ctx context.Context, scope names.Project, wanted []*core.Secret) (env map[string]string, files []executor.File, err error)
}

// Config of a launcher.
type Config struct {
	Executor executor.Executor
	Journal  *journal.Journal
	Bucket   objects.Bucket
	Images   Images
	Secrets  Secrets
	Tell     func(engine.Input)
	Log      *slog.Logger
	// Endpoint is "host:port" of the gateway as the tasks reach it, without TLS.
	Endpoint string
	// RawPrefix is where tasks keep raw data when the run names no other place, and Storage the variables with which the
	// SDK reaches it. A run that keeps its raw data in an S3 of its user gets none of them.
	RawPrefix string
	RawKey    objects.Key // what RawPrefix is in the bucket
	Storage   map[string]string
	Home      string // HOME of the tasks; the SDK keeps a small cache there
	MaxQPS    int    // enqueues a second that a parent may make: the SDK paces itself by it
	Grace     time.Duration
	Base      map[string]string // variables of every task
}

// Launcher carries out starts and stops.
type Launcher struct {
	config Config
	runs   *recent.Cache[*runFacts]
	specs  *recent.Cache[*taskFacts]

	mu     sync.Mutex
	jobs   map[names.Attempt]*job
	closed bool
	tasks  sync.WaitGroup // what is done beside
}

// job is an attempt between its start and the commit of its outcome. There is one for each living attempt, so the engine's limits
// bound them.
type job struct {
	start   engine.StartAttempt
	cancel  context.CancelFunc // of the preparation
	handed  bool               // the executor has it
	stop    bool
	started time.Time
	outcome *engine.Outcome
	release func() // of its environment
}

// New makes a launcher. The executor must report to Events().
func New(config Config) *Launcher {
	return &Launcher{config: config, runs: recent.New[*runFacts](256), specs: recent.New[*taskFacts](256), jobs: map[names.Attempt]*job{}}
}

// Start makes the attempt run; see engine.StartAttempt. Repeating it tells again what is known.
func (l *Launcher) Start(e engine.StartAttempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.jobs[e.ID]; known != nil {
		if !known.started.IsZero() {
			l.config.Tell(engine.AttemptStarted{ID: e.ID, At: engine.At(known.started)})
		}
		if known.outcome != nil {
			l.config.Tell(engine.AttemptEnded{ID: e.ID, Outcome: *known.outcome})
		}
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &job{start: e, cancel: cancel}
	l.jobs[e.ID] = j
	l.goDo(func() { l.prepare(ctx, j) })
}

// goDo does f beside; after Close it does nothing. l.mu is held.
func (l *Launcher) goDo(f func()) {
	if !l.closed {
		l.tasks.Go(f)
	}
}

// Close ends what is being prepared, waits for all that the launcher does, and lets the environments go. Attempts that run are the
// executor's. Nothing is told afterwards.
func (l *Launcher) Close() {
	l.mu.Lock()
	l.closed = true
	for _, j := range l.jobs {
		j.cancel()
	}
	l.mu.Unlock()
	l.tasks.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, j := range l.jobs {
		if j.release != nil {
			j.release()
		}
		delete(l.jobs, id)
	}
}

// prepare does the slow part of a start. A stop before the executor has the attempt ends it here.
func (l *Launcher) prepare(ctx context.Context, j *job) {
	defer j.cancel()
	id := j.start.ID
	if j.start.Running || j.start.Resumed && l.config.Executor.Known(id) {
		l.keepEnvironment(ctx, j)
		l.hand(j)
		l.config.Executor.Adopt(id)
		l.afterHanding(j)
		return
	}
	command, release, err := l.command(ctx, j.start)
	l.mu.Lock()
	j.release = release
	l.mu.Unlock()
	if !l.hand(j) {
		l.settle(id, engine.Outcome{At: engine.At(time.Now()), Error: &engine.Error{Code: engine.CodeAborted, Message: "stopped before it was started", Kind: engine.ErrorUser}})
		return
	}
	if err != nil {
		l.settle(id, notStarted(err))
		return
	}
	if err := l.config.Executor.Start(context.Background(), command); err != nil {
		l.settle(id, notStarted(err))
		return
	}
	l.afterHanding(j)
}

// keepEnvironment holds the environment of an attempt that is adopted. Not to find it changes nothing: the attempt has it.
func (l *Launcher) keepEnvironment(ctx context.Context, j *job) {
	facts, err := l.task(ctx, j.start.Task.Digest)
	if err != nil {
		return
	}
	environment, err := l.config.Images.Environment(ctx, facts.spec.GetTaskTemplate().GetContainer().GetImage())
	if err != nil {
		l.config.Log.Warn("the environment of an adopted attempt is not there", "attempt", j.start.ID, "error", err)
		return
	}
	l.mu.Lock()
	j.release = environment.Release
	l.mu.Unlock()
}

// hand marks the attempt as the executor's; false when it has been stopped before. An adopted one is handed in any case.
func (l *Launcher) hand(j *job) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	j.handed = true
	return !j.stop
}

// afterHanding repeats a stop that came while the executor was being called.
func (l *Launcher) afterHanding(j *job) {
	l.mu.Lock()
	stop := j.stop
	l.mu.Unlock()
	if stop {
		l.config.Executor.Stop(j.start.ID, "stopped while it was being started")
	}
}

// Stop ends the attempt's processes.
func (l *Launcher) Stop(e engine.StopAttempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.jobs[e.ID]
	if j == nil {
		return
	}
	j.stop = true
	if !j.handed {
		j.cancel()
		return
	}
	l.goDo(func() { l.config.Executor.Stop(e.ID, causes[e.Cause]) })
}

var causes = map[engine.StopCause]string{
	engine.StopMaxRuntime: "it ran longer than its limit",
	engine.StopDeadline:   "its deadline has passed",
	engine.StopAbort:      "it was aborted",
}

// Forget drops what is kept of an attempt whose outcome is committed.
func (l *Launcher) Forget(e engine.ForgetAttempt) {
	l.mu.Lock()
	j := l.jobs[e.ID]
	delete(l.jobs, e.ID)
	if j == nil || j.handed {
		l.goDo(func() { l.config.Executor.Forget(e.ID) })
	}
	l.mu.Unlock()
	if j != nil && j.release != nil {
		j.release()
	}
}

// Alive calls fn for each attempt that has been started and not forgotten.
func (l *Launcher) Alive(fn func(names.Attempt)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.jobs {
		fn(id)
	}
}

// Started implements executor.Events.
func (l *Launcher) Started(id names.Attempt, at time.Time) {
	l.mu.Lock()
	if j := l.jobs[id]; j != nil {
		j.started = at
	}
	l.mu.Unlock()
	l.config.Tell(engine.AttemptStarted{ID: id, At: engine.At(at)})
}

// Ended implements executor.Events.
func (l *Launcher) Ended(exit executor.Exit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j := l.jobs[exit.ID]; j != nil { // else swept: no action waits for it
		l.goDo(func() { l.settle(exit.ID, l.outcome(context.Background(), j.start, exit)) })
	}
}

func (l *Launcher) settle(id names.Attempt, outcome engine.Outcome) {
	l.mu.Lock()
	if j := l.jobs[id]; j != nil {
		j.outcome = &outcome
	}
	l.mu.Unlock()
	l.config.Tell(engine.AttemptEnded{ID: id, Outcome: outcome})
}

var _ executor.Events = (*Launcher)(nil)
