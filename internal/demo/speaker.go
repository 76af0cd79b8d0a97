package demo

import (
	"fmt"
	"io"
	"time"
)

// speaker talks to the person who started the demo. Colours only where somebody watches.
type speaker struct {
	out    io.Writer
	colour bool
}

func newSpeaker(out io.Writer, terminal bool) *speaker { return &speaker{out: out, colour: terminal} }

func (s *speaker) line(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *speaker) fact(name, format string, args ...any) {
	fmt.Fprintf(s.out, "  %-14s %s\n", name, fmt.Sprintf(format, args...))
}

func (s *speaker) step(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.colour {
		text = "\x1b[36m" + text + "\x1b[0m"
	}
	fmt.Fprintf(s.out, "› %s\n", text)
}

func (s *speaker) done(since time.Time, format string, args ...any) {
	fmt.Fprintf(s.out, "  %s (%.1f s)\n", fmt.Sprintf(format, args...), time.Since(since).Seconds())
}

func (s *speaker) next(config, state string, isDefault bool) {
	flag := ""
	if !isDefault {
		flag = " --state " + state
	}
	fmt.Fprintf(s.out, `
Next:
  pip install flyte                                  the SDK, if you do not have it
  export FLYTECTL_CONFIG=%[1]s
  flyte run hello.py main                            a program of your own
  biplane runs%[2]s        what the control plane knows
  biplane why RUN%[2]s     why something does not run
`, config, flag)
}
