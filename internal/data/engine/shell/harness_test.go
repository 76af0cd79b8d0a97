package shell

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// patience is how long a test waits for what must come; it is never waited for in a test that passes.
const patience = 30 * time.Second

// faultyDB is a database that fails or stops when a test says so.
type faultyDB struct {
	store.DB
	failWrites, failReads atomic.Bool
	writes                atomic.Int64
	gate                  atomic.Pointer[chan struct{}] // writes wait until it is closed
	atGate                atomic.Int64
	afterWrite            atomic.Pointer[func(n int64)]
}

var errBroken = errors.New("the disk is broken")

func (db *faultyDB) Write(ctx context.Context, fn func(store.WriteTx) error) error {
	if gate := db.gate.Load(); gate != nil {
		db.atGate.Add(1)
		<-*gate
	}
	err := db.DB.Write(ctx, func(tx store.WriteTx) error {
		if err := fn(tx); err != nil {
			return err
		}
		if db.failWrites.Load() {
			return errBroken // at the last moment, when everything has been written
		}
		return nil
	})
	if err == nil {
		n := db.writes.Add(1)
		if after := db.afterWrite.Load(); after != nil {
			(*after)(n)
		}
	}
	return err
}

func (db *faultyDB) Read(ctx context.Context, fn func(store.Tx) error) error {
	if db.failReads.Load() {
		return errBroken
	}
	return db.DB.Read(ctx, fn)
}

// world is an executor that keeps what it knows of an attempt until it is forgotten, over restarts of the shell.
type world struct {
	tell    atomic.Pointer[func(engine.Input)]
	hold    atomic.Bool // attempts do not end by themselves
	onStart func(engine.StartAttempt)

	mu      sync.Mutex
	jobs    map[names.Attempt]*job
	starts  map[names.Attempt]int
	forgot  map[names.Attempt]int
	gone    map[string]bool // outputs that cannot be read
	changed chan struct{}
}

type job struct {
	started bool
	outcome *engine.Outcome
}

func newWorld() *world {
	return &world{jobs: map[names.Attempt]*job{}, starts: map[names.Attempt]int{}, forgot: map[names.Attempt]int{}, gone: map[string]bool{}, changed: make(chan struct{}, 1)}
}

func (w *world) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *world) Start(e engine.StartAttempt) {
	if w.onStart != nil {
		w.onStart(e)
	}
	w.mu.Lock()
	j := w.jobs[e.ID]
	if j == nil {
		j = &job{started: true}
		w.jobs[e.ID] = j
		w.starts[e.ID]++
	}
	outcome := j.outcome
	w.mu.Unlock()
	w.say(engine.AttemptStarted{ID: e.ID, At: engine.At(time.Now())})
	switch {
	case outcome != nil:
		w.say(engine.AttemptEnded{ID: e.ID, Outcome: *outcome})
	case !w.hold.Load():
		w.end(e.ID, engine.Outcome{OK: true, OutputURI: "out"})
	}
	w.signal()
}

func (w *world) say(in engine.Input) { (*w.tell.Load())(in) }

func (w *world) end(id names.Attempt, o engine.Outcome) {
	o.At = engine.At(time.Now())
	w.mu.Lock()
	if j := w.jobs[id]; j != nil {
		j.outcome = &o
	}
	w.mu.Unlock()
	w.say(engine.AttemptEnded{ID: id, Outcome: o})
}

func (w *world) Stop(e engine.StopAttempt) {
	w.end(e.ID, engine.Outcome{System: true, Error: &engine.Error{Code: "Stopped", Message: "stopped"}})
}

func (w *world) Forget(e engine.ForgetAttempt) {
	w.mu.Lock()
	delete(w.jobs, e.ID)
	w.forgot[e.ID]++
	w.mu.Unlock()
	w.signal()
}

func (w *world) Builtin(e engine.RunBuiltin) {
	w.say(engine.AttemptEnded{ID: e.ID, Outcome: engine.Outcome{OK: true, OutputURI: "out", At: engine.At(time.Now())}})
}

func (w *world) Webhook(engine.PostWebhook) {}

func (w *world) Readable(_ context.Context, uri string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.gone[uri]
}

func (w *world) startsOf(id names.Attempt) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.starts[id]
}

func (w *world) allStarts() map[names.Attempt]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.starts)
}

// plane is a shell on a real journal.
type plane struct {
	t       *testing.T
	path    string
	db      *faultyDB
	journal *journal.Journal
	world   *world
	shell   *Shell
	clock   atomic.Int64 // added to the clock, in nanoseconds
	stop    func()
}

var tasks = map[string]*engine.Task{
	"plain":   {Digest: "plain", Name: "m.plain"},
	"nap":     {Digest: "nap", Name: "m.nap", Builtin: engine.BuiltinSleep},
	"retried": {Digest: "retried", Name: "m.retried", Retries: 1},
	"patient": {Digest: "patient", Name: "m.patient", QueuedTimeout: time.Hour},
	"delayed": {Digest: "delayed", Name: "m.delayed", Retries: 1, Backoff: engine.Backoff{Base: time.Hour}},
	"large":   {Digest: "large", Name: "m.large", CPUMillis: 1 << 20},
}

func newPlane(t *testing.T) *plane {
	p := &plane{t: t, path: filepath.Join(t.TempDir(), "journal.db"), world: newWorld()}
	p.open()
	return p
}

// open makes a shell on the database, and restores it.
func (p *plane) open() {
	p.t.Helper()
	db, err := store.OpenSQLite(p.t.Context(), p.path, journal.Migrations())
	if err != nil {
		p.t.Fatal(err)
	}
	p.db = &faultyDB{DB: db}
	p.journal = journal.New(p.db)
	p.shell = New(Config{
		Engine:     engine.Config{CPUMillis: 1 << 20, Memory: 1 << 40, DefaultCPUMillis: 1, DefaultMemory: 1, SystemRetries: 3},
		MaxPending: 20_000, Log: slog.New(slog.DiscardHandler),
		Task: func(digest string, _ []byte) (*engine.Task, error) { return tasks[digest], nil },
		Now:  func() time.Time { return time.Now().Add(time.Duration(p.clock.Load())) },
	}, p.journal, p.world)
	tell := p.shell.Tell
	p.world.tell.Store(&tell)
	if err := p.shell.Restore(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// run starts the loop; close ends it and the database.
func (p *plane) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.shell.Run(ctx) }()
	p.stop = func() { cancel(); <-done }
	p.t.Cleanup(p.close)
}

func (p *plane) close() {
	if p.stop != nil {
		p.stop()
	}
	p.stop = nil
	if err := p.db.Close(); err != nil && !errors.Is(err, errClosedTwice) {
		p.t.Log(err)
	}
}

var errClosedTwice = errors.New("closed twice")

func runName(name string) names.Run {
	return names.Run{Project: names.Project{Org: names.Org, Project: "p", Domain: "d"}, Name: name}
}

func attempt(run, action string) names.Attempt {
	return names.Attempt{Action: names.Action{Run: runName(run), Action: action}, Number: 1}
}

func createRun(name, task string) engine.CreateRun {
	return engine.CreateRun{
		Run: &engine.Run{Name: runName(name), Digest: name}, Row: &journal.RunRow{RunSpec: []byte{}},
		Root: engine.ActionSpec{Name: names.Root, Kind: engine.KindTask, Task: tasks[task], OutputBase: "base"},
	}
}

func enqueue(run, parent, name, task string) engine.Enqueue {
	return engine.Enqueue{Run: runName(run), Spec: engine.ActionSpec{Name: name, Parent: parent, Kind: engine.KindTask, Task: tasks[task], OutputBase: "base"}}
}

// do submits a request with its specification and returns the answer.
func (p *plane) do(in engine.Input) (engine.Reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	specs := journal.Specs{}
	switch in := in.(type) {
	case engine.CreateRun:
		specs[in.Root.Task.Digest] = []byte(in.Root.Task.Digest)
	case engine.Enqueue:
		specs[in.Spec.Task.Digest] = []byte(in.Spec.Task.Digest)
	}
	return p.shell.Do(ctx, in, specs)
}

func (p *plane) must(in engine.Input) engine.Reply {
	p.t.Helper()
	reply, err := p.do(in)
	if err != nil {
		p.t.Fatalf("%T: %v", in, err)
	}
	return reply
}

// row reads an action's row; nil when there is none.
func (p *plane) row(run, action string) *journal.Row {
	p.t.Helper()
	info, err := p.journal.Run(context.Background(), runName(run))
	if err != nil {
		return nil
	}
	row, err := p.journal.Action(context.Background(), info.ID, action)
	if err != nil {
		return nil
	}
	return row
}

// await waits for a commit, or for something outside, after which ok is true.
func (p *plane) await(what string, ok func() bool) {
	p.t.Helper()
	changed, leave := p.journal.Watch(journal.Topic{})
	defer leave()
	late := time.After(patience)
	for !ok() {
		select {
		case <-changed:
		case <-p.world.changed:
		case <-late:
			p.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (p *plane) awaitPhase(run, action string, phase engine.Phase) {
	p.t.Helper()
	p.await(run+"/"+action+" to be "+phase.String(), func() bool {
		row := p.row(run, action)
		return row != nil && row.Phase == phase
	})
}
