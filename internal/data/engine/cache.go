package engine

import "container/list"

// reservation is held by the one action that computes a cached result; the others wait for it.
type reservation struct {
	holder  *Action
	waiters list.List // of *Action, in order of arrival
}

func (s *State) ask(a *Action) {
	lookup := Lookup{ID: a.ID()}
	if a.CacheKey != "" && !a.Run.OverwriteCache {
		lookup.CacheKey, lookup.CacheMaxAge = a.CacheKey, a.Task.CacheMaxAge
	}
	if s.recoverable(a) {
		lookup.RecoverFrom = a.Run.RecoverFrom
	}
	a.Wait = WaitLookup
	s.mark(a)
	s.schedule(a)
	s.effect(lookup)
}

func (s *State) lookupDone(in LookupDone) {
	a := s.Find(in.ID)
	if a == nil || a.Wait != WaitLookup {
		return // aborted meanwhile, or answered twice
	}
	switch {
	case in.Recovered != nil && s.recoverable(a):
		a.From, a.OutputURI, a.Value = in.Recovered, in.Recovered.OutputURI, in.Recovered.Value
		s.finish(a, PhaseRecovered)
		return
	case in.Hit != nil:
		a.CacheStatus, a.From, a.OutputURI = CacheHit, in.Hit, in.Hit.OutputURI
		a.Started = s.now
		s.finish(a, PhaseSucceeded)
		return
	}
	if a.CacheKey != "" {
		a.CacheStatus = CacheMiss
		if a.Run.OverwriteCache {
			a.CacheStatus = CacheSkipped
		}
		if a.serialized() && !s.reserve(a) {
			a.Phase, a.Wait = PhaseWaiting, WaitReservation
			s.mark(a)
			s.schedule(a)
			return
		}
	}
	s.proceed(a)
}

// serialized: the action computes its cache key alone. One whose run overwrites the cache neither waits nor is waited for.
func (a *Action) serialized() bool {
	return a.CacheKey != "" && a.Task.Serialize && !a.Run.OverwriteCache
}

// reserve makes a the one that computes its cache key, or puts it in the queue of those that wait.
func (s *State) reserve(a *Action) bool {
	r := s.reservations[a.CacheKey]
	if r == nil {
		s.reservations[a.CacheKey] = &reservation{holder: a}
		a.reserved = true
		return true
	}
	if r.holder == a {
		return true
	}
	a.waiting = r.waiters.PushBack(a)
	return false
}

// retake gives the reservation back to an action that had it when the plane ended: it was being executed, or between two
// attempts.
func (s *State) retake(a *Action) {
	if a.serialized() && s.reservations[a.CacheKey] == nil {
		s.reserve(a)
	}
}

// leave takes a finished action out of the queue of those that wait.
func (s *State) leave(a *Action) {
	if a.waiting != nil {
		s.reservations[a.CacheKey].waiters.Remove(a.waiting)
		a.waiting = nil
	}
}

// release lets those that waited ask again: after a success they all hit, after a failure the first to ask computes.
func (s *State) release(a *Action) {
	if !a.reserved {
		return
	}
	a.reserved = false
	r := s.reservations[a.CacheKey]
	delete(s.reservations, a.CacheKey)
	for e := r.waiters.Front(); e != nil; e = e.Next() {
		w := e.Value.(*Action)
		w.waiting = nil
		s.ask(w)
	}
}
