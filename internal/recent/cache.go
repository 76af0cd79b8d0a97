package recent

import "sync"

// Cache holds up to a limit of values; when full it starts anew.
type Cache[V any] struct {
	mu    sync.Mutex
	limit int
	known map[string]V
}

// New makes a cache for up to limit values.
func New[V any](limit int) *Cache[V] { return &Cache[V]{limit: limit, known: map[string]V{}} }

// Get returns the value of key, read by read when it is not there. An error is not kept.
func (c *Cache[V]) Get(key string, read func() (V, error)) (V, error) {
	c.mu.Lock()
	kept, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return kept, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= c.limit {
		clear(c.known)
	}
	c.known[key] = value
	return value, nil
}
