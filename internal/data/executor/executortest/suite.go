package executortest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/names"
)

// Subject is an implementation under test.
type Subject struct {
	// Open makes the executor whose state is in the folder dir. It is called again with the same dir for another life.
	Open func(dir string, events executor.Events) (executor.Executor, logs.Store, error)
	// Alive counts the living processes whose command line holds marker.
	Alive func(marker string) (int, error)
	// LogBytes is the limit on an attempt's log that Open has set, small enough to be exceeded: about 16 MiB.
	LogBytes int64
}

// patience is how long anything in the suite may take.
const patience = 60 * time.Second

// Run runs the suite.
func Run(t *testing.T, subject Subject) {
	t.Run("ends", func(t *testing.T) { testEnds(t, subject) })
	t.Run("surroundings", func(t *testing.T) { testSurroundings(t, subject) })
	t.Run("stop", func(t *testing.T) { testStop(t, subject) })
	t.Run("limits", func(t *testing.T) { testLimits(t, subject) })
	t.Run("logs", func(t *testing.T) { testLogs(t, subject) })
	t.Run("crash", func(t *testing.T) { testCrash(t, subject) })
}

// bench is one executor in one test.
type bench struct {
	*testing.T
	subject Subject
	executor.Executor
	logs   logs.Store
	events *events
}

func setUp(t *testing.T, subject Subject) *bench {
	t.Helper()
	t.Parallel()
	return open(t, subject, t.TempDir())
}

func open(t *testing.T, subject Subject, dir string) *bench {
	t.Helper()
	events := &events{changed: make(chan struct{}), started: map[names.Attempt]int{}, ended: map[names.Attempt][]executor.Exit{}}
	e, store, err := subject.Open(dir, events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.Close(ctx, true); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &bench{T: t, subject: subject, Executor: e, logs: store, events: events}
}

// events remembers what it was told.
type events struct {
	mu      sync.Mutex
	changed chan struct{}
	started map[names.Attempt]int
	ended   map[names.Attempt][]executor.Exit
}

func (e *events) Started(id names.Attempt, _ time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.started[id]++
	e.signal()
}

func (e *events) Ended(exit executor.Exit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended[exit.ID] = append(e.ended[exit.ID], exit)
	e.signal()
}

func (e *events) signal() {
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *events) await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		e.mu.Lock()
		ok, changed := holds(), e.changed
		e.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func (b *bench) awaitStarted(id names.Attempt) {
	b.Helper()
	b.events.await(b, fmt.Sprintf("start of %v", id), func() bool { return b.events.started[id] > 0 })
}

func (b *bench) awaitEnded(id names.Attempt) executor.Exit { return b.awaitEndedTimes(id, 1) }

func (b *bench) awaitEndedTimes(id names.Attempt, times int) (exit executor.Exit) {
	b.Helper()
	b.events.await(b, fmt.Sprintf("end %d of %v", times, id), func() bool {
		if len(b.events.ended[id]) < times {
			return false
		}
		exit = b.events.ended[id][times-1]
		return true
	})
	return exit
}

var lastID atomic.Int64

// attempt is a new name.
func attempt() names.Attempt {
	run := names.Run{Project: names.Project{Org: names.Org, Project: "suite", Domain: "development"}, Name: fmt.Sprintf("r%d", lastID.Add(1))}
	return names.Attempt{Action: names.Action{Run: run, Action: names.Root}, Number: 1}
}

const path = "/usr/local/bin:/usr/bin:/bin"

// shell is a command that runs a script.
func shell(script string) executor.Command {
	return executor.Command{ID: attempt(), Args: []string{"sh", "-c", script}, Env: map[string]string{"PATH": path}, Grace: 10 * time.Second}
}

func (b *bench) start(command executor.Command) {
	b.Helper()
	if err := b.Start(b.Context(), command); err != nil {
		b.Fatal(err)
	}
}

// run starts the command and returns how it ended.
func (b *bench) run(command executor.Command) executor.Exit {
	b.Helper()
	b.start(command)
	return b.awaitEnded(command.ID)
}

// lines reads the whole log.
func (b *bench) lines(id names.Attempt) (all []logs.Line) {
	b.Helper()
	for position := ""; ; {
		lines, next, err := b.logs.Read(b.Context(), id, position, 0)
		if err != nil {
			b.Fatal(err)
		}
		if all = append(all, lines...); len(lines) == 0 {
			return all
		}
		position = next
	}
}

// text is what the attempt wrote to a stream.
func (b *bench) text(id names.Attempt, stream logs.Stream) string {
	b.Helper()
	var text strings.Builder
	for _, line := range b.lines(id) {
		if line.Stream == stream {
			text.WriteString(line.Text + "\n")
		}
	}
	return text.String()
}

// awaitLine follows the log until a line of it is text.
func (b *bench) awaitLine(id names.Attempt, text string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for position := ""; ; {
		if err := b.logs.Wait(ctx, id, position); err != nil {
			b.Fatalf("wait for the line %q: %v", text, err)
		}
		lines, next, err := b.logs.Read(ctx, id, position, 0)
		if err != nil {
			b.Fatal(err)
		}
		for _, line := range lines {
			if line.Text == text {
				return
			}
		}
		position = next
	}
}

// marker is a text for a command line that no other process has: "sleep" takes it as a number of seconds.
func marker() string { return fmt.Sprintf("9%d%06d", time.Now().UnixNano()%1e9, lastID.Add(1)) }

func (b *bench) alive(marker string) int {
	b.Helper()
	count, err := b.subject.Alive(marker)
	if err != nil {
		b.Fatal(err)
	}
	return count
}

func (b *bench) awaitDead(marker string) {
	b.Helper()
	for deadline := time.Now().Add(patience); b.alive(marker) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("processes with %s in their command line stay alive", marker)
		}
	}
}
