package logs

import (
	"bytes"
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// pollEvery is how often files that somebody waits for are looked at: the delay of a live log. One ticker serves all
// waiters, stops with the last one, and looks at each file once however many wait for it. (inotify would need a watch a file,
// a limit that operators have to raise, and another way on other systems.)
const pollEvery = 30 * time.Millisecond

type waiters struct {
	mu      sync.Mutex
	files   map[string]map[*waiter]struct{}
	polling bool
}

type waiter struct {
	beyond int64
	grown  chan struct{}
}

func (w *waiters) until(ctx context.Context, path string, beyond int64) error {
	if grown(path, beyond) {
		return ctx.Err()
	}
	mine := &waiter{beyond: beyond, grown: make(chan struct{})}
	w.mu.Lock()
	if w.files == nil {
		w.files = make(map[string]map[*waiter]struct{})
	}
	if w.files[path] == nil {
		w.files[path] = make(map[*waiter]struct{})
	}
	w.files[path][mine] = struct{}{}
	if !w.polling {
		w.polling = true
		go w.poll()
	}
	w.mu.Unlock()

	select {
	case <-mine.grown:
		return nil
	case <-ctx.Done():
		w.mu.Lock()
		w.remove(path, mine)
		w.mu.Unlock()
		return ctx.Err()
	}
}

// remove needs mu.
func (w *waiters) remove(path string, one *waiter) {
	delete(w.files[path], one)
	if len(w.files[path]) == 0 {
		delete(w.files, path)
	}
}

func (w *waiters) poll() {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for range ticker.C {
		w.mu.Lock()
		if len(w.files) == 0 {
			w.polling = false
			w.mu.Unlock()
			return
		}
		paths := slices.Collect(maps.Keys(w.files))
		w.mu.Unlock()
		for _, path := range paths {
			w.wake(path)
		}
	}
}

func (w *waiters) wake(path string) {
	w.mu.Lock()
	waiting := slices.Collect(maps.Keys(w.files[path]))
	w.mu.Unlock()
	for _, one := range waiting {
		if !grown(path, one.beyond) {
			continue
		}
		w.mu.Lock()
		if _, still := w.files[path][one]; still {
			close(one.grown)
			w.remove(path, one)
		}
		w.mu.Unlock()
	}
}

// grown says whether a reader at the position beyond has something to learn: a whole frame, or that the file is gone. The
// size alone would not do: a frame that a dead writer left half written would make every waiter spin.
func grown(path string, beyond int64) bool {
	info, err := os.Stat(path)
	if err != nil {
		return beyond > 0
	}
	if info.Size() <= beyond {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	piece := make([]byte, 4<<10)
	for {
		n, err := file.ReadAt(piece, beyond)
		if bytes.IndexByte(piece[:n], '\n') >= 0 {
			return true
		}
		if err != nil {
			return false
		}
		beyond += int64(n)
	}
}
