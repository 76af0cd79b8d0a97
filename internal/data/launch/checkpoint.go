package launch

import (
	"context"
	"strings"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/objects"
)

// checkpointOf is the one object in which an attempt saves its progress.
func checkpointOf(raw string) string { return raw + "/_flytecheckpoints" }

// previousCheckpoint is what an attempt may load: what the latest attempt before it has saved that has saved anything, so that one
// which dies early does not lose the progress of those before. In a store of the user's own nobody can look: there it is that
// of the attempt just before. Empty for the first attempt.
func (l *Launcher) previousCheckpoint(ctx context.Context, e engine.StartAttempt, run *runFacts) string {
	if e.ID.Number <= 1 {
		return ""
	}
	before := checkpointOf(l.rawData(run.spec, e.ID.Action, e.ID.Number-1))
	for number := e.ID.Number - 1; number >= 1; number-- {
		uri := checkpointOf(l.rawData(run.spec, e.ID.Action, number))
		rest, ours := strings.CutPrefix(uri, l.config.RawPrefix+"/")
		if !ours {
			break
		}
		key, err := objects.ParseKey(string(l.config.RawKey) + "/" + rest)
		if err != nil {
			break
		}
		if _, err := l.config.Bucket.Stat(ctx, key); err == nil {
			return uri
		}
	}
	return before
}
