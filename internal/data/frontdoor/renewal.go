package frontdoor

import "time"

const (
	// firstRetry and maxRetry bound the wait after a failure, which doubles each time: five tries in the first hour, as many
	// as public authorities let fail for one name.
	firstRetry = 2 * time.Minute
	maxRetry   = 6 * time.Hour
)

// history is what decides when a certificate is asked for next.
type history struct {
	notBefore, notAfter time.Time     // of the newest certificate; zero when there is none
	failures            int           // in a row
	lastTry             time.Time     // zero when nothing was tried
	askedToWait         time.Duration // how long the authority told us to wait after the last try; 0 when it did not
}

// renewAt is when a third of a certificate's life is left; zero without a certificate.
func renewAt(notBefore, notAfter time.Time) time.Time {
	if notAfter.IsZero() {
		return time.Time{}
	}
	return notAfter.Add(-notAfter.Sub(notBefore) / 3)
}

// next is when the certificate is to be asked for. Jitter, from 0 to 1, spreads planes that were made together: a renewal
// comes up to a twentieth of the life earlier, a retry up to a quarter of its wait later.
func next(h history, first time.Duration, jitter float64) time.Time {
	if h.failures > 0 {
		wait := first
		for range h.failures - 1 {
			if wait *= 2; wait >= maxRetry {
				wait = maxRetry
				break
			}
		}
		wait += time.Duration(jitter * float64(wait) / 4)
		return h.lastTry.Add(max(wait, h.askedToWait))
	}
	at := renewAt(h.notBefore, h.notAfter)
	if at.IsZero() {
		return at
	}
	return at.Add(-time.Duration(jitter * float64(h.notAfter.Sub(h.notBefore)) / 20))
}
