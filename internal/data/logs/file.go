package logs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// File is the Store over the files that Writers write: <root>/<org>/<project>/<domain>/<run>/<action>/<attempt>.log.
type File struct {
	root string
	wait waiters
}

var _ Store = (*File)(nil)

const (
	defaultLines = 1000
	maxLines     = 10_000
	readAtOnce   = MaxLine + frameExtra + 1<<20 // always holds one whole frame
)

// NewFile is the store in the folder root, which need not exist yet.
func NewFile(root string) *File { return &File{root: root} }

// Path is where the attempt's log is written.
func (f *File) Path(id names.Attempt) string {
	return filepath.Join(f.run(id.Run), id.Action.Action, strconv.FormatUint(uint64(id.Number), 10)+".log")
}

func (f *File) run(id names.Run) string {
	return filepath.Join(f.root, id.Org, id.Project.Project, id.Domain, id.Name)
}

// Exists says whether a log has been begun.
func (f *File) Exists(_ context.Context, id names.Attempt) bool {
	if check(id.Run, id.Action.Action) != nil {
		return false
	}
	_, err := os.Stat(f.Path(id))
	return err == nil
}

// Read returns up to limit lines from the position; limit 0 is 1,000, and more than 10,000 (or about a mebibyte) never come at once.
func (f *File) Read(ctx context.Context, id names.Attempt, position string, limit int) ([]Line, string, error) {
	if err := check(id.Run, id.Action.Action); err != nil {
		return nil, "", err
	}
	offset, err := parsePosition(position)
	if err != nil {
		return nil, "", err
	}
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	file, err := os.Open(f.Path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fault.NotFound("log of attempt", strconv.FormatUint(uint64(id.Number), 10)+" of "+id.Action.String())
	}
	if err != nil {
		return nil, "", fault.Wrap(err, fault.KindInternal, "the log of %s cannot be opened", id.Action)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, "", fault.Wrap(err, fault.KindInternal, "the log of %s cannot be read", id.Action)
	}
	data := make([]byte, max(0, min(readAtOnce, info.Size()-offset)))
	n, err := file.ReadAt(data, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fault.Wrap(err, fault.KindInternal, "the log of %s cannot be read", id.Action)
	}
	lines, used := takeLines(data[:n], limit)
	return lines, strconv.FormatInt(offset+int64(used), 10), nil
}

// takeLines returns up to limit lines of the whole frames in data, and how much of data they were.
func takeLines(data []byte, limit int) (lines []Line, used int) {
	if limit <= 0 {
		limit = defaultLines
	}
	limit = min(limit, maxLines)
	for len(lines) < limit {
		end := bytes.IndexByte(data[used:], '\n')
		if end < 0 {
			if len(data)-used > MaxLine+frameExtra {
				used = len(data) // no writer of ours: skip it rather than stand before it for ever
			}
			break
		}
		if line, ok := parseFrame(data[used : used+end]); ok {
			lines = append(lines, line)
		}
		used += end + 1
	}
	return lines, used
}

// Wait returns when the attempt's log is longer than the position says, when it is gone, or when ctx is done.
func (f *File) Wait(ctx context.Context, id names.Attempt, position string) error {
	if err := check(id.Run, id.Action.Action); err != nil {
		return err
	}
	offset, err := parsePosition(position)
	if err != nil {
		return err
	}
	return f.wait.until(ctx, f.Path(id), offset)
}

// Delete removes the logs of a run. A log that is still being written goes on without a name.
func (f *File) Delete(_ context.Context, run names.Run) error {
	if err := check(run, names.Root); err != nil {
		return err
	}
	if err := os.RemoveAll(f.run(run)); err != nil {
		return fault.Wrap(err, fault.KindInternal, "the logs of run %s cannot be removed", run.Name)
	}
	return nil
}

// check refuses names that did not come through names.Check: they become path segments here.
func check(run names.Run, action string) error {
	return errors.Join(names.Check("org", run.Org), names.Check("project", run.Project.Project), names.Check("domain", run.Domain),
		names.Check("run.name", run.Name), names.Check("action.name", action))
}

// A position is the offset of the next frame, in decimal. Callers keep it as they got it.
func parsePosition(position string) (int64, error) {
	if position == "" {
		return 0, nil
	}
	offset, err := strconv.ParseInt(position, 10, 64)
	if err != nil || offset < 0 {
		return 0, fault.Invalid("position", "is none that an earlier read returned: %q", position)
	}
	return offset, nil
}
