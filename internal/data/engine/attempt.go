package engine

import (
	"fmt"
	"time"
)

func (s *State) attemptStarted(in AttemptStarted) {
	a := s.Find(in.ID.Action)
	if a == nil || a.Attempt != in.ID.Number || a.Phase != PhaseInitializing {
		return // told again after an adoption, or stale
	}
	a.Phase, a.Started = PhaseRunning, in.At
	if a.Stop == StopNone {
		a.Wait = WaitNone
	}
	s.mark(a)
	s.schedule(a)
}

func (s *State) attemptEnded(in AttemptEnded) {
	a := s.Find(in.ID.Action)
	if a == nil || a.Attempt != in.ID.Number || a.Phase != PhaseInitializing && a.Phase != PhaseRunning {
		s.effect(ForgetAttempt{ID: in.ID}) // a stale attempt: recorded before, or fenced
		return
	}
	s.attemptOver(a, in.Outcome)
}

// attemptOver decides what the end of an attempt means for its action.
func (s *State) attemptOver(a *Action, o Outcome) {
	if a.Task.Builtin == BuiltinNone {
		s.free(a)
		s.effect(ForgetAttempt{ID: a.AttemptID()})
	}
	a.Usage = o.Usage
	if a.Started == 0 {
		a.Started = s.now
	}
	cause := a.Stop
	a.Stop = StopNone
	switch {
	case cause == StopAbort || a.Run.Aborting:
		if a.AbortReason == "" {
			a.AbortReason, a.AbortedBy = a.Run.AbortReason, a.Run.AbortedBy
		}
		s.finish(a, PhaseAborted)
	case o.OK:
		s.succeed(a, o.OutputURI)
	case cause == StopDeadline:
		a.Error = timeoutError(CodeDeadline, "the action did not end within its deadline of %s, counted over all attempts", a.Task.Deadline)
		s.finish(a, PhaseTimedOut)
	case cause == StopMaxRuntime:
		a.Error = timeoutError(CodeMaxRuntime, "the attempt ran longer than its limit of %s", a.Task.MaxRuntime)
		s.failed(a, PhaseTimedOut, true)
	case o.System:
		a.Error = o.Error
		a.SystemFailures++
		if a.SystemFailures <= s.config.SystemRetries {
			s.again(a, PhaseFailed, systemPause(a.SystemFailures))
			return
		}
		s.finish(a, PhaseFailed)
	default:
		a.Error = o.Error
		s.failed(a, PhaseFailed, o.Error.Recoverable)
	}
}

func (s *State) succeed(a *Action, outputURI string) {
	a.OutputURI = outputURI
	if a.CacheKey != "" {
		a.CacheStatus = CachePopulated
		s.out.Cached = append(s.out.Cached, CacheEntry{
			Key: a.CacheKey, Run: a.Run.Name, Action: a.Name, Attempt: a.Attempt, OutputURI: outputURI, At: s.now,
		})
	}
	s.finish(a, PhaseSucceeded)
}

// failed is a failure charged to the task.
func (s *State) failed(a *Action, phase Phase, recoverable bool) {
	if recoverable && a.UserFailures < a.Task.Retries {
		pause := a.Task.Backoff.Pause(a.UserFailures)
		a.UserFailures++
		s.again(a, phase, pause)
		return
	}
	a.UserFailures++
	s.finish(a, phase)
}

// again makes the next attempt of an action, after a pause. Its children stay: the next attempt finds them by name.
func (s *State) again(a *Action, phase Phase, pause time.Duration) {
	s.out.Attempts = append(s.out.Attempts, PastAttempt{
		RunID: a.Run.ID, Action: a.Name, Attempt: a.Attempt, Phase: phase, Queued: a.Queued, Initialized: a.Initialized,
		Started: a.Started, Ended: s.now, Error: a.Error, Usage: a.Usage,
	})
	a.Attempt++
	a.Phase, a.Queued, a.Initialized, a.Started = PhaseQueued, s.now, 0, 0
	a.Error, a.OutputURI, a.Usage = nil, "", Usage{}
	s.mark(a)
	if pause > 0 {
		a.Wait, a.RetryAt = WaitBackoff, s.now.add(pause)
		s.schedule(a)
		return
	}
	a.RetryAt = 0
	s.proceed(a)
}

// systemPause grows from one second, so that a machine in trouble is not asked at full speed.
func systemPause(failures uint32) time.Duration {
	return Backoff{Base: time.Second, Factor: 4, Cap: time.Minute}.Pause(failures - 1)
}

func timeoutError(code, format string, limit time.Duration) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, limit), Kind: ErrorUser, Recoverable: false}
}
