package journal

import (
	"sync"

	"biplane.dev/biplane/internal/data/engine"
)

// Topic is what a watcher waits for a change of: the children of an action, one action, or (the zero Topic) anything.
type Topic struct {
	Run    int64
	Parent string
	Action string
}

// Hub wakes watchers after a commit. A watcher that is woken reads the rows above the number it has seen, so a slow one costs nothing
// and loses nothing; the feeds spare those that follow a parent's children the reading of what was written just now.
type Hub struct {
	mu       sync.Mutex
	watchers map[Topic]map[chan struct{}]struct{}
	feeds    map[Topic]*feed // of the parents whose children somebody follows
}

func newHub() *Hub {
	return &Hub{watchers: map[Topic]map[chan struct{}]struct{}{}, feeds: map[Topic]*feed{}}
}

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

// publish gives the changes of one commit to the feeds and wakes the watchers.
func (h *Hub) publish(topics map[Topic]struct{}, written []change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) == 0 {
		return
	}
	h.feed(written)
	for topic := range topics {
		for wake := range h.watchers[topic] {
			select {
			case wake <- struct{}{}:
			default: // it has not looked since the last one
			}
		}
	}
}

// change is one written row of a child; without an action only its number is known.
type change struct {
	topic  Topic // of its parent
	seq    int64
	action *engine.Action
}

func (h *Hub) feed(written []change) {
	if len(h.feeds) == 0 {
		return
	}
	fresh := map[*feed][]Child{}
	for _, w := range written {
		d := h.feeds[w.topic]
		switch {
		case d == nil:
		case w.action == nil:
			d.add(fresh[d])
			delete(fresh, d)
			d.skip(w.seq)
		default:
			fresh[d] = append(fresh[d], childOf(w.action, w.seq))
		}
	}
	for d, changes := range fresh {
		d.add(changes)
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
