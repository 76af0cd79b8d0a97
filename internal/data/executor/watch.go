package executor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"biplane.dev/biplane/internal/data/executor/runner"
	"biplane.dev/biplane/internal/names"
)

// adoptedEvery is how often the locks of adopted attempts are looked at. There are some after a crash of the plane only.
const adoptedEvery = 100 * time.Millisecond

// maxOutputTail is how much of a broken runner's own error output goes into the plane's log.
const maxOutputTail = 2 << 10

// watch follows a runner that is our child until it ends.
func (p *Process) watch(a *attempt, reports *os.File) {
	// Reading a pipe holds no thread, waiting for a process does: so wait only when the pipe says that it is about to end.
	defer context.AfterFunc(p.ctx, func() { _ = reports.SetReadDeadline(time.Unix(1, 0)) })()
	defer reports.Close()
	var record *runner.Record
	for decoder := json.NewDecoder(reports); ; {
		var report runner.Report
		if err := decoder.Decode(&report); err != nil {
			break // the end of the pipe, or Close
		}
		if report.Task != nil {
			p.tellStarted(a, report.Task.At)
		}
		if report.Exit != nil {
			record = report.Exit
		}
	}
	if p.ctx.Err() != nil && record == nil {
		_ = a.process.Release()
		return
	}
	state, err := a.process.Wait()
	switch {
	case record != nil:
		p.tellEnded(a, *record)
	case err == nil && state.ExitCode() == runner.CodeTaken:
		// A runner of an earlier life came first, or has been here.
		p.takeCharge(a)
	default:
		p.options.Logger.Error("a runner ended without saying how its task ended", "attempt", a.id, "state", state, "output", p.outputTail(a.id))
		p.takeCharge(a)
	}
}

func (p *Process) outputTail(id names.Attempt) string {
	data, err := os.ReadFile(filepath.Join(p.folders.path(id), runner.OutputFile))
	if err != nil {
		return ""
	}
	return string(data[max(0, len(data)-maxOutputTail):])
}

// takeCharge takes over an attempt that was begun and whose runner is not ours to wait for. It ends as lost when there is
// nothing to take over.
func (p *Process) takeCharge(a *attempt) {
	found, err := p.takeOver(a)
	if err == nil && !found {
		err = p.lose(a)
	}
	if err != nil {
		p.options.Logger.Error("the state of an attempt cannot be read; it is tried again", "attempt", a.id, "error", err)
		p.poll(a)
	}
}

func (p *Process) tellStarted(a *attempt, at time.Time) {
	p.mu.Lock()
	told := a.started
	a.started = true
	p.mu.Unlock()
	if !told {
		p.options.Events.Started(a.id, at)
	}
}

func (p *Process) tellEnded(a *attempt, record runner.Record) {
	p.mu.Lock()
	if a.exit != nil {
		p.mu.Unlock()
		return
	}
	exit := exitOf(a.id, record)
	exit.Stopped = exit.Stopped || a.stopped
	a.exit = &exit
	p.mu.Unlock()
	p.options.Events.Ended(exit)
	notify(p.ended)
}

func exitOf(id names.Attempt, record runner.Record) Exit {
	return Exit{
		ID: id, Code: record.Code, Signal: record.Signal, OutOfMemory: record.OutOfMemory, Stopped: record.Stopped,
		// A task that was ended for want of a plane is the platform's loss, not its own failure.
		Lost:       record.Lost || record.Orphaned,
		StartError: record.StartError, BadCommand: record.BadCommand, Started: record.Started, Ended: record.Ended,
		PeakMemory: record.PeakMemory, CPU: record.CPU,
	}
}
