package runner

import (
	"fmt"
	"os"
	"time"
)

// How often the plane's lock is looked at: a tenth of the grace, within these.
const (
	planeEveryMin = 50 * time.Millisecond
	planeEveryMax = 2 * time.Second
)

// watchPlane ends the attempt when no plane has been alive for the orphan grace. Time in which the machine sleeps does not
// count.
func (a *attempt) watchPlane() {
	ticker := time.NewTicker(min(max(a.spec.OrphanGrace/10, planeEveryMin), planeEveryMax))
	defer ticker.Stop()
	watch, err := OpenWatch(a.spec.PlaneLock)
	if err != nil {
		fmt.Fprintln(os.Stderr, "biplane-runner: the plane's lock:", err) // a plane without a lock file is none
	} else {
		defer watch.Close()
	}
	seen := time.Now()
	for {
		select {
		case <-a.over:
			return
		case <-ticker.C:
		}
		if watch != nil {
			if holder, err := watch.Holder(); err == nil && holder != 0 {
				seen = time.Now()
				continue
			}
		}
		if time.Since(seen) >= a.spec.OrphanGrace {
			a.stop("the data plane is gone", true)
		}
	}
}
