package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"biplane.dev/biplane/internal/data/logs"
)

const (
	killEvery  = 10 * time.Millisecond // between two rounds of killing what is still alive
	drainLimit = 2 * time.Second       // for output that somebody outside of the attempt keeps open
	maxReason  = 1 << 10
)

// attempt is the life of one task. Its main goroutine starts the task and reaps; others pump, listen, measure.
type attempt struct {
	spec   Spec
	report func(Report)
	log    *logs.Writer
	group  *cgroup // nil where there is none
	pid    int     // of the task
	task   Task
	over   chan struct{} // closed when nothing is alive
	kill   sync.Once
	oom    oomCounter
	meter  meter

	mu       sync.Mutex
	stopped  bool
	orphaned bool
	killed   bool // by us
	tooLarge bool // its memory
	reaped   bool // the task's process is gone, its id may belong to somebody else
}

func newAttempt(spec Spec, report func(Report)) *attempt {
	return &attempt{spec: spec, report: report, over: make(chan struct{})}
}

// run is the whole life: it returns when nothing of the attempt is alive.
func (a *attempt) run(signals <-chan os.Signal) Record {
	a.log = logs.Open(a.spec.Log, a.spec.LogLimits)
	output, err := a.start(signals)
	if err != nil {
		return a.notStarted(err)
	}
	var background sync.WaitGroup
	background.Go(func() { a.listen(signals) })
	background.Go(a.watchPlane)
	background.Go(a.watchMemory)
	status := a.reap()
	close(a.over)
	output.drain()
	background.Wait()

	record := a.record(status)
	if a.group != nil {
		a.group.remove()
	}
	a.removeSecrets()
	a.lastWords(record)
	record.Log = a.log.Close()
	return record
}

var errStopped = errors.New("stopped before it was started")

func (a *attempt) notStarted(err error) Record {
	record := Record{Code: -1, Ended: time.Now().UTC(), Stopped: errors.Is(err, errStopped)}
	if !record.Stopped {
		record.StartError = err.Error()
		record.BadCommand = errors.As(err, new(badCommand))
	}
	a.log.System("the task was not started: %s", err)
	if a.group != nil {
		a.group.remove()
	}
	a.removeSecrets()
	record.Log = a.log.Close()
	return record
}

func (a *attempt) record(status syscall.WaitStatus) Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	record := Record{Code: status.ExitStatus(), Stopped: a.stopped, Orphaned: a.orphaned, Started: a.task.At, Ended: time.Now().UTC()}
	if status.Signaled() {
		record.Code, record.Signal = -1, signalName(status.Signal())
		record.OutOfMemory = status.Signal() == syscall.SIGKILL && (a.tooLarge || !a.killed && a.oom.rose() || a.group.oomKilled())
	}
	record.PeakMemory, record.CPU = a.meter.peak, 0
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage) == nil {
		record.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		record.PeakMemory = max(record.PeakMemory, usage.Maxrss*maxrssUnit)
	}
	if peak := a.group.peak(); peak > 0 {
		record.PeakMemory = peak
	}
	return record
}

// lastWords puts into the log what a reader would otherwise wonder about.
func (a *attempt) lastWords(record Record) {
	switch {
	case record.OutOfMemory && a.spec.MemoryLimit > 0:
		a.log.System("out of memory: the limit of the task is %d bytes, the highest use seen was %d", a.spec.MemoryLimit, record.PeakMemory)
	case record.OutOfMemory:
		a.log.System("out of memory: the machine had none left and the kernel ended the task")
	case record.Orphaned:
		a.log.System("ended because the data plane was away for longer than %s", a.spec.OrphanGrace)
	}
}

// listen turns signals into the end of the attempt.
func (a *attempt) listen(signals <-chan os.Signal) {
	for {
		select {
		case <-signals:
			a.stop(stopReason(), false)
		case <-a.over:
			return
		}
	}
}

func stopReason() string {
	data, err := os.ReadFile(filepath.Join(folder, StopFile))
	if err != nil {
		return "asked to"
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(data[:min(len(data), maxReason)]), "?"))
}

// stop asks the task's process group to end and kills everything after the grace. The first call counts.
func (a *attempt) stop(why string, orphaned bool) {
	a.mu.Lock()
	if a.stopped || a.orphaned {
		a.mu.Unlock()
		return
	}
	a.stopped, a.orphaned = !orphaned, orphaned
	if !a.reaped {
		_ = syscall.Kill(-a.pid, syscall.SIGTERM) // gone already: reap sees it
	}
	a.mu.Unlock()
	a.log.System("stopping: %s", why)
	time.AfterFunc(max(0, a.spec.Grace), a.killAll)
}

// killAll ends everything of the attempt, however often it forks, until reap says that nothing is left.
func (a *attempt) killAll() {
	a.kill.Do(func() {
		a.mu.Lock()
		a.killed = true
		a.mu.Unlock()
		go func() {
			for wait := time.Duration(0); ; wait = killEvery {
				select {
				case <-a.over:
					return
				case <-time.After(wait):
					a.killTree()
				}
			}
		}()
	})
}

// reap waits for the task and everything that it leaves behind, which dies with it, and returns the task's status.
func (a *attempt) reap() (task syscall.WaitStatus) {
	options := 0
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, options, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // no child is left
			a.awaitGroup()
			return task
		case pid == 0: // the task is gone, others are not
			a.killAll()
			options = 0
		case pid == a.pid && (status.Exited() || status.Signaled()):
			task = status
			a.mu.Lock()
			a.reaped = true
			a.mu.Unlock()
			options = syscall.WNOHANG
		}
	}
}

func (a *attempt) removeSecrets() {
	if err := os.RemoveAll(filepath.Join(folder, SecretsDir)); err != nil {
		fmt.Fprintln(os.Stderr, "biplane-runner: remove secrets:", err)
	}
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("SIG%d", int(s))
}
