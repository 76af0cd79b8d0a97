package pace

import (
	"math/rand/v2"
	"time"
)

// Jittered is d, give or take a fifth, so that a thousand planes do not speak in chorus.
func Jittered(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5+1) }

// Backoff is the pause before the n-th try in a row, n from 0: full jitter below a bound that begins with first and doubles up to most.
func Backoff(n int, first, most time.Duration) time.Duration {
	bound := first
	for ; n > 0 && bound < most; n-- {
		bound *= 2
	}
	return rand.N(min(bound, most) + 1)
}
