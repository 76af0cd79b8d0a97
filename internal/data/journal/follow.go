package journal

import (
	"context"
	"slices"
	"sync"

	"biplane.dev/biplane/internal/data/engine"
)

// Child is what a parent is told of one of its children.
type Child struct {
	Seq        int64
	Name       string
	Kind       engine.Kind
	Phase      engine.Phase
	Attempt    uint32
	OutputBase string
	OutputURI  string
	Value      []byte // of a signalled condition
	Error      engine.Error
}

// maxFeed changes of the children of one followed parent are kept in memory, until every follower has read them.
const maxFeed = 1024

// feed is the newest changes of the children of one parent, for followers that are up to date: most changes are read at once after
// their commit, and a query for each costs as much as writing it. Whoever is behind what is here reads the rows.
type feed struct {
	mu        sync.Mutex
	followers map[*Follower]struct{}
	floor     int64   // every change after it is in changes, or is yet to be published
	changes   []Child // in the order of their numbers
}

// Follower reads the changes of the children of one parent, each with the newest state, in order. It is for one goroutine.
type Follower struct {
	journal *Journal
	feed    *feed
	topic   Topic
	seq     int64 // guarded by feed.mu, because others trim by it
	changed <-chan struct{}
	leave   func()
}

// Follow begins before the first change. Leave must be called at the end.
func (j *Journal) Follow(runID int64, parent string) *Follower {
	f := &Follower{journal: j, topic: Topic{Run: runID, Parent: parent}}
	f.changed, f.leave = j.Watch(f.topic)
	h := j.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	f.feed = h.feeds[f.topic]
	if f.feed == nil {
		// What has been committed by now may have been published before this.
		f.feed = &feed{followers: map[*Follower]struct{}{}, floor: j.db.Seq()}
		h.feeds[f.topic] = f.feed
	}
	f.feed.mu.Lock()
	defer f.feed.mu.Unlock()
	f.feed.followers[f] = struct{}{}
	return f
}

// Changed receives at least once after each change.
func (f *Follower) Changed() <-chan struct{} { return f.changed }

// Leave ends the following.
func (f *Follower) Leave() {
	f.leave()
	h := f.journal.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	f.feed.mu.Lock()
	defer f.feed.mu.Unlock()
	delete(f.feed.followers, f)
	if len(f.feed.followers) == 0 {
		delete(h.feeds, f.topic)
	}
}

// Next returns up to limit changes after those that it has returned before; fewer than limit means that there are no more for now.
func (f *Follower) Next(ctx context.Context, limit int) ([]Child, error) {
	if changes, ok := f.feed.after(f, limit); ok {
		return changes, nil
	}
	head := f.journal.db.Seq() // before the query: all up to here is in its snapshot
	rows, err := f.journal.Children(ctx, f.topic.Run, f.topic.Parent, f.seq, limit)
	if err != nil {
		return nil, err
	}
	changes := make([]Child, len(rows))
	seq := f.seq
	for i, row := range rows {
		changes[i] = Child{
			Seq: row.Seq, Name: row.Name, Kind: row.Kind, Phase: row.Phase, Attempt: row.Attempt,
			OutputBase: row.OutputBase, OutputURI: row.OutputURI, Value: row.Value, Error: row.Error,
		}
		seq = row.Seq
	}
	if len(rows) < limit {
		seq = max(seq, head)
	}
	f.feed.mu.Lock()
	f.seq = seq
	f.feed.mu.Unlock()
	return changes, nil
}

// after returns what the feed has for a follower; false when the follower is behind it.
func (d *feed) after(f *Follower, limit int) ([]Child, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.seq < d.floor {
		return nil, false
	}
	begin, _ := slices.BinarySearchFunc(d.changes, f.seq+1, func(c Child, seq int64) int { return int(c.Seq - seq) })
	changes := slices.Clone(d.changes[begin:min(len(d.changes), begin+limit)])
	if len(changes) > 0 {
		f.seq = changes[len(changes)-1].Seq
	}
	d.trim()
	return changes, true
}

// trim forgets what every follower has read.
func (d *feed) trim() {
	read := int64(-1)
	for f := range d.followers {
		if read < 0 || f.seq < read {
			read = f.seq
		}
	}
	n, _ := slices.BinarySearchFunc(d.changes, read+1, func(c Child, seq int64) int { return int(c.Seq - seq) })
	d.drop(n)
}

// drop forgets the first n changes.
func (d *feed) drop(n int) {
	if n == 0 {
		return
	}
	d.floor = d.changes[n-1].Seq
	d.changes = slices.Delete(d.changes, 0, n)
}

// add takes the changes of one commit.
func (d *feed) add(changes []Child) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(d.changes, changes...)
	d.drop(max(0, len(d.changes)-maxFeed))
}

// skip says that a change was made that the feed does not know.
func (d *feed) skip(seq int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(len(d.changes))
	d.floor = max(d.floor, seq)
}

// childOf is what a parent is told of an action that has just been written.
func childOf(a *engine.Action, seq int64) Child {
	child := Child{
		Seq: seq, Name: a.Name, Kind: a.Kind, Phase: a.Phase, Attempt: a.Attempt, OutputBase: a.OutputBase, OutputURI: a.OutputURI, Value: a.Value,
	}
	if a.Error != nil {
		child.Error = *a.Error
	}
	return child
}
