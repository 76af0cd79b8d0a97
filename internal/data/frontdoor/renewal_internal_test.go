package frontdoor

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNextTry(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	born := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	good := history{notBefore: born, notAfter: born.Add(90 * day)}
	failed := func(failures int, asked time.Duration) history {
		h := good
		h.failures, h.lastTry, h.askedToWait = failures, born.Add(70*day), asked
		return h
	}
	for name, test := range map[string]struct {
		history history
		jitter  float64
		want    time.Time
	}{
		"nothing yet":             {history{}, 1, time.Time{}},
		"at a third of the life":  {good, 0, born.Add(60 * day)},
		"earlier by a twentieth":  {good, 1, born.Add(60*day - 108*time.Hour)},
		"after one failure":       {failed(1, 0), 0, born.Add(70*day + 2*time.Minute)},
		"later by a quarter":      {failed(1, 0), 1, born.Add(70*day + 150*time.Second)},
		"after four":              {failed(4, 0), 0, born.Add(70*day + 16*time.Minute)},
		"after very many":         {failed(1<<30, 0), 0, born.Add(70*day + 6*time.Hour)},
		"as the authority wishes": {failed(1, 12*time.Hour), 0, born.Add(70*day + 12*time.Hour)},
		"no sooner than planned":  {failed(8, time.Second), 0, born.Add(70*day + 256*time.Minute)},
	} {
		if got := next(test.history, firstRetry, test.jitter); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// Whatever the life and however often it failed: the renewal is planned while the certificate is good, and failures never
// come closer than the first wait nor go further apart than the longest.
func TestNextTryIsWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		born := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "born"), 0)
		life := time.Duration(rapid.Int64Range(1, int64(10*365*24*time.Hour)).Draw(t, "life"))
		jitter := rapid.Float64Range(0, 1).Draw(t, "jitter")
		h := history{notBefore: born, notAfter: born.Add(life)}
		if at := next(h, firstRetry, jitter); at.Before(born) || at.After(h.notAfter) || at.After(h.notAfter.Add(-life/3)) {
			t.Fatalf("a life of %v from %v is renewed at %v", life, born, at)
		}
		h.failures, h.lastTry = rapid.IntRange(1, 100).Draw(t, "failures"), born.Add(life/2)
		if wait := next(h, firstRetry, jitter).Sub(h.lastTry); wait < firstRetry || wait > maxRetry+maxRetry/4 {
			t.Fatalf("after %d failures the wait is %v", h.failures, wait)
		}
	})
}
