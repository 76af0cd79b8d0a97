package enrol

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link/pace"
)

// Part of a certificate's life after which it is renewed: a random point between the two, before half of it.
const (
	renewFrom  = 0.35
	renewUntil = 0.48
)

const (
	// lookAgain is how often the folder is read: somebody may enrol the plane anew while it runs, and a machine may wake
	// from a sleep that its timers did not count.
	lookAgain = time.Minute
	firstWait = time.Second
	maxWait   = 5 * time.Minute
	callsTime = 2 * time.Minute
)

// KeepConfig says whose identity is kept.
type KeepConfig struct {
	Folder string
	// Where is asked before every try: a control plane may have moved meanwhile.
	Where func() (Contact, error)
	Log   *slog.Logger
	// Status is told after every try: nil, or why the certificate could not be renewed. It may be nil.
	Status func(Identity, error)
	// LookAgain is how often the folder is read. 0 means a minute.
	LookAgain time.Duration
}

// Keep renews the folder's certificate before half of its life until ctx is done. It never gives up: what goes wrong is
// logged and tried again, more and more seldom. Nothing else of the plane waits for it.
func Keep(ctx context.Context, c KeepConfig) {
	if c.LookAgain == 0 {
		c.LookAgain = lookAgain
	}
	place, failures := rand.Float64(), 0
	var notBefore time.Time // no try before
	var told error
	for {
		have, err := Read(c.Folder)
		now := time.Now()
		at := now
		if err == nil {
			at = renewAt(have.Leaf.NotBefore, have.Leaf.NotAfter, place)
		}
		if at.Before(notBefore) {
			at = notBefore
		}
		if wait := min(at.Sub(now), c.LookAgain); wait > 0 {
			select {
			case <-time.After(wait):
				continue
			case <-ctx.Done():
				return
			}
		}
		var got Identity
		if err == nil {
			got, err = c.renew(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if c.Status != nil {
			c.Status(got, err)
		}
		if err == nil {
			c.Log.Info("the plane's certificate was renewed", "plane", got.Plane.String(), "expires", got.Expires)
			place, failures, notBefore, told = rand.Float64(), 0, time.Time{}, nil
			continue
		}
		pause := pace.Backoff(failures, firstWait, maxWait)
		notBefore = time.Now().Add(pause)
		failures++
		level := slog.LevelWarn
		if !fault.Is(err, fault.KindUnavailable) {
			level = slog.LevelError // nothing but a person will change it
		}
		if told == nil || told.Error() != err.Error() || failures%12 == 0 {
			c.Log.Log(ctx, level, "the plane's certificate could not be renewed; work goes on", "error", err, "expires", have.Expires, "retry_in", pause.Round(time.Millisecond))
		}
		told = err
	}
}

func (c KeepConfig) renew(ctx context.Context) (Identity, error) {
	contact, err := c.Where()
	if err != nil {
		return Identity{}, fault.Wrap(err, fault.KindUnavailable, "where the control plane is: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callsTime)
	defer cancel()
	return Renew(ctx, contact, c.Folder)
}

// renewAt is when to renew a certificate. place, from 0 to 1, is where between the earliest and the latest moment.
func renewAt(notBefore, notAfter time.Time, place float64) time.Time {
	life := notAfter.Sub(notBefore)
	return notBefore.Add(time.Duration(float64(life) * (renewFrom + (renewUntil-renewFrom)*place)))
}
