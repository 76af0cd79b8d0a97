package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/tether"
)

const (
	commandLimit = time.Hour        // for one command of a build, whatever the caller allows
	killDelay    = 5 * time.Second  // from the kill of a command until its pipes are given up
	lineLimit    = 2 << 10          // bytes of a line of output that are kept
	outputLimit  = 20_000           // lines of a command that are passed on
	tailLimit    = 12               // last lines of a failed command that go into its error
	answerLimit  = 64 << 10         // bytes of a command whose output is an answer
	probeLimit   = 30 * time.Second // for a command that only asks something
)

// Progress is told what a build does, one line for humans at a time, without a newline. It may be nil. Calls do not overlap
// within one build.
type Progress func(line string)

func (p Progress) say(format string, args ...any) {
	if p != nil {
		p(fmt.Sprintf(format, args...))
	}
}

// command is a child process of a build.
type command struct {
	what string            // for messages: "install six"
	args []string          // argv
	dir  string            // working directory; the current one when empty
	env  map[string]string // over the environment of all build commands; an empty value removes a variable
	lock *lock             // inherited by the child, see lock
}

// commandError is a build command that ran and failed, with the end of what it said.
type commandError struct {
	what string
	exit int
	tail []string
}

func (e *commandError) Error() string {
	return fmt.Sprintf("%s: exit code %d: %s", e.what, e.exit, strings.Join(e.tail, "\n"))
}

// run runs c to its end, passes its output on line by line, and leaves nothing of it alive.
func (s *Store) run(ctx context.Context, c command, progress Progress) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	output := &lines{progress: progress}
	process := s.process(ctx, c)
	process.Stdout, process.Stderr = output, output
	err := tether.Run(process)
	if process.Process != nil {
		_ = syscall.Kill(-process.Process.Pid, syscall.SIGKILL) // what a build script left in the background
	}
	output.flush()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &commandError{what: c.what, exit: exit.ExitCode(), tail: output.tail}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.what, err)
	}
	return nil
}

// ask runs c and returns what it printed on its standard output.
func (s *Store) ask(ctx context.Context, c command) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	var out, errs bytes.Buffer
	process := s.process(ctx, c)
	process.Stdout = &bounded{buffer: &out, left: answerLimit}
	process.Stderr = &bounded{buffer: &errs, left: answerLimit}
	if err := tether.Run(process); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%s: %w: %s", c.what, err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func (s *Store) process(ctx context.Context, c command) *exec.Cmd {
	process := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	process.Dir = c.dir
	process.Env = environ(s.environ, c.env)
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process.Cancel = func() error { return syscall.Kill(-process.Process.Pid, syscall.SIGKILL) }
	process.WaitDelay = killDelay
	if c.lock != nil {
		process.ExtraFiles = []*os.File{c.lock.file}
	}
	return process
}

func environ(base, over map[string]string) []string {
	all := maps.Clone(base)
	maps.Copy(all, over)
	list := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] != "" {
			list = append(list, name+"="+all[name])
		}
	}
	return list
}

// lines passes output on line by line and keeps the last few. It is used by one goroutine at a time.
type lines struct {
	progress Progress
	partial  []byte
	tail     []string
	count    int
}

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexAny(p, "\r\n")
		if end < 0 {
			l.keep(p)
			break
		}
		l.keep(p[:end])
		l.flush()
		p = p[end+1:]
	}
	return n, nil
}

func (l *lines) keep(p []byte) {
	if room := lineLimit - len(l.partial); len(p) > room {
		p = p[:room]
	}
	l.partial = append(l.partial, p...)
}

func (l *lines) flush() {
	line := clean(string(l.partial))
	l.partial = l.partial[:0]
	if line == "" {
		return
	}
	if len(l.tail) == tailLimit {
		l.tail = append(l.tail[:0], l.tail[1:]...)
	}
	l.tail = append(l.tail, line)
	switch l.count++; {
	case l.count < outputLimit:
		l.progress.say("%s", line)
	case l.count == outputLimit:
		l.progress.say("(more than %d lines; the rest is left out)", outputLimit)
	}
}

// credentials in a URL, as in an index with a password.
var credentials = regexp.MustCompile(`://[^/\s@]+@`)

// clean makes a line fit for a log and an error: no passwords in URLs, no control characters.
func clean(line string) string {
	line = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "�"))
	return strings.TrimRight(credentials.ReplaceAllString(line, "://***@"), " \t")
}

// bounded drops what is more than left.
type bounded struct {
	buffer *bytes.Buffer
	left   int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > b.left {
		p = p[:b.left]
	}
	b.left -= len(p)
	_, err := b.buffer.Write(p)
	return n, err
}

var _ io.Writer = (*bounded)(nil)

// What pip and uv say when it is the network's fault, and when it is the disk's.
var (
	networkWords = []string{
		"error sending request", "failed to fetch", "dns error", "connection refused", "connection reset", "timed out",
		"network is unreachable", "name resolution", "failed to establish a new connection", "network connectivity is disabled",
		"proxyerror", "sslerror", "certificate verify failed", "invalid peer certificate",
	}
	diskWords = []string{"no space left on device", "disk quota exceeded"}
)

// buildFault tells a user why a command of a build failed.
func (s *Store) buildFault(err error) error {
	var failed *commandError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.KindAborted, "the build was stopped")
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.KindDeadline, "the build took too long")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return s.diskFull(err)
	case !errors.As(err, &failed):
		return fault.Wrap(err, fault.KindInternal, "the build could not be done: see the log of the data plane")
	}
	said := strings.Join(failed.tail, "\n")
	if contains(said, diskWords) {
		return s.diskFull(err)
	}
	if contains(said, networkWords) {
		return fault.Wrap(err, fault.KindUnavailable,
			"could not %s: the package index cannot be reached. Check the network, proxy and index settings of this machine, then try again. The last it said:\n%s",
			failed.what, said)
	}
	return fault.Wrap(err, fault.KindPrecondition, "could not %s (exit code %d):\n%s", failed.what, failed.exit, said)
}

func (s *Store) diskFull(err error) error {
	return fault.Wrap(err, fault.KindUnavailable, "the disk is full below %s: make room, then try again", s.cache)
}

func contains(text string, words []string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}
