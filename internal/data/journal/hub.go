package journal

import "sync"

// Topic is what a watcher waits for a change of: the children of an action, one action, or (the zero Topic) anything.
type Topic struct {
	Run    int64
	Parent string
	Action string
}

// Hub wakes watchers after a commit. It carries no data: a watcher that is woken reads the rows above the number it has
// seen, so a slow one costs nothing and loses nothing.
type Hub struct {
	mu       sync.Mutex
	watchers map[Topic]map[chan struct{}]struct{}
}

func newHub() *Hub { return &Hub{watchers: map[Topic]map[chan struct{}]struct{}{}} }

// Watch returns a channel that receives (at least) once after each change from now on; leave must be called at the end.
func (j *Journal) Watch(topic Topic) (changed <-chan struct{}, leave func()) {
	h := j.hub
	wake := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers[topic] == nil {
		h.watchers[topic] = map[chan struct{}]struct{}{}
	}
	h.watchers[topic][wake] = struct{}{}
	return wake, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers[topic], wake)
		if len(h.watchers[topic]) == 0 {
			delete(h.watchers, topic)
		}
	}
}

func (h *Hub) publish(topics map[Topic]struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) == 0 {
		return
	}
	for topic := range topics {
		for wake := range h.watchers[topic] {
			select {
			case wake <- struct{}{}:
			default: // it has not looked since the last one
			}
		}
	}
}

// Watchers is the number of watchers, for metrics.
func (j *Journal) Watchers() int {
	j.hub.mu.Lock()
	defer j.hub.mu.Unlock()
	n := 0
	for _, set := range j.hub.watchers {
		n += len(set)
	}
	return n
}
