package link

import (
	"cmp"
	"context"
	"slices"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
)

// Source is what the data plane has to tell. Its methods are called from one goroutine.
type Source interface {
	// Changes returns up to limit rows whose last change has a number above after, in the order of their numbers, each in its
	// newest state. All tables must be read in one snapshot: with two, a number could be passed over.
	// Fewer than limit means that there are no more. The link owns what it gets.
	Changes(ctx context.Context, after int64, limit int) ([]*linkv1.Event, error)
	// Changed receives after commits that may have changed rows. The channel is always the same and has room for one
	// signal, so that a commit never waits for the link.
	Changed() <-chan struct{}
	// Head is the newest committed number of the change sequence (store.DB.Seq).
	Head() int64
	// Lives are the starts of the plane on its database (anchor.Anchor.Lives).
	Lives() []*linkv1.Life
}

// Sink applies what the control plane orders.
type Sink interface {
	// Apply applies the commands in order, each once for good, and moves the cursor. An error ends the session;
	// the commands come again.
	Apply(ctx context.Context, commands []*linkv1.Command) error
	// Cursor is the number of the last command applied for good, 0 at first.
	Cursor() int64
}

// Merge helps a Source that reads one table after another: it merges the rows of each, which must be in order and cut
// at limit, and cuts the whole at limit.
func Merge(limit int, tables ...[]*linkv1.Event) []*linkv1.Event {
	all := slices.Concat(tables...)
	slices.SortFunc(all, func(a, b *linkv1.Event) int { return cmp.Compare(a.GetSeq(), b.GetSeq()) })
	return all[:min(limit, len(all))]
}
