package link

import "time"

// Bounds of the link. An event is at most about 6 KiB after Scrub, so a full batch is below maxMessage.
const (
	batchEvents    = 512     // events in one message, one transaction of the control plane
	windowBatches  = 2       // batches not yet acknowledged: one being stored, one on the way
	commandBatch   = 100     // commands in one message
	maxMessage     = 4 << 20 // bytes of one message, either way
	welcomeTimeout = 15 * time.Second
	silentBeats    = 3 // heartbeats missed before a link counts as broken

	// DefaultHeartbeat is how often each side says something.
	DefaultHeartbeat = 5 * time.Second
	minHeartbeat     = 10 * time.Millisecond
	maxHeartbeat     = time.Minute
)
