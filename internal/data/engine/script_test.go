package engine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the scripts' expected output anew")

// TestScripts runs testdata/*.txt. A script is blocks of commands, a line "----", and what they must print up to an empty
// line; lines that start with '#' outside of the output are for the reader. The commands stand in script_commands_test.go.
//
// After every commit the script's state is held against one made anew from the rows (driver.rehearse), so each script is
// also a test of a restart at each of its moments.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			runScript(t, file)
		})
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newScript()
	var written strings.Builder
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for i := 0; i < len(lines); {
		var commands []string
		begin := i + 1
		for ; i < len(lines) && lines[i] != "----"; i++ {
			written.WriteString(lines[i] + "\n")
			if line := strings.TrimSpace(lines[i]); line != "" && line[0] != '#' {
				commands = append(commands, line)
			}
		}
		if len(commands) == 0 {
			break // closing words
		}
		var want []string
		for i++; i < len(lines) && lines[i] != ""; i++ {
			want = append(want, lines[i])
		}
		got := s.block(commands)
		if expected := strings.Join(want, "\n"); !*update && strings.TrimSuffix(got, "\n") != expected {
			t.Errorf("%s:%d\n%s\n---- expected\n%s\n---- got\n%s", file, begin, strings.Join(commands, "\n"), expected, got)
		}
		written.WriteString("----\n" + got)
		if i < len(lines) {
			written.WriteString("\n")
			i++
		}
	}
	for _, p := range s.problems {
		t.Errorf("%s: %s", file, p)
	}
	if *update {
		if err := os.WriteFile(file, []byte(written.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// print writes what one commit contained.
func (s *script) print(out Output) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, r := range out.NewRuns {
		line("run %s", r.Run.Name.Name)
	}
	for _, r := range out.Runs {
		line("run %s aborting: %s", r.Name.Name, r.AbortReason)
	}
	for _, p := range out.Attempts {
		line("past %s/%s#%d %s%s queued %s started %s ended %s", s.runName(p.RunID), p.Action, p.Attempt, p.Phase, errorText(p.Error), since(p.Queued), since(p.Started), since(p.Ended))
	}
	for _, a := range out.Actions {
		line("%s", s.actionLine(a))
	}
	for _, e := range out.Cached {
		line("cached %s = %s of %s/%s#%d", e.Key, e.OutputURI, e.Run.Name, e.Action, e.Attempt)
	}
	for _, touched := range out.Touched {
		line("touched %s/%s", s.runName(touched.RunID), touched.Action)
	}
	for _, r := range out.Replies {
		switch {
		case r.Err != nil:
			line("reply: %s", r.Err)
		case r.Existed:
			line("reply: existed")
		default:
			line("reply: ok")
		}
	}
	for _, e := range out.Effects {
		line("%s", effectLine(e))
	}
	return b.String()
}

func (s *script) runName(id int64) string { return s.book.runs[id].run.Name.Name }

func (s *script) actionLine(a *Action) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s#%d %s", actionText(a.ID()), a.Attempt, a.Phase)
	add := func(wanted bool, format string, args ...any) {
		if wanted {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	add(a.Wait != WaitNone, "%s", a.Wait)
	add(a.Wait == WaitBackoff, "until %s", since(a.RetryAt))
	b.WriteString(errorText(a.Error))
	add(a.CacheStatus != CacheDisabled, "%s", cacheNames[a.CacheStatus])
	add(a.OutputURI != "", "out %s", a.OutputURI)
	add(a.From != nil, "from %s", pointerText(a.From))
	add(len(a.Value) > 0, "value %s", a.Value)
	add(a.Stop != StopNone, "stop %s", stopNames[a.Stop])
	add(a.UserFailures+a.SystemFailures > 0, "failures %d user %d system", a.UserFailures, a.SystemFailures)
	add(a.Phase.Terminal(), "started %s ended %s", since(a.Started), since(a.Ended))
	return b.String()
}

func pointerText(p *Pointer) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s#%d", p.Run, p.Action, p.Attempt)
}

func errorText(e *Error) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf(" [%s: %s]", e.Code, e.Message)
}

var (
	stopNames  = map[StopCause]string{StopMaxRuntime: "MAX_RUNTIME", StopDeadline: "DEADLINE", StopAbort: "ABORT"}
	cacheNames = map[CacheStatus]string{CacheMiss: "miss", CacheHit: "hit", CachePopulated: "populated", CacheSkipped: "skipped"}
)

func effectLine(effect Effect) string {
	switch e := effect.(type) {
	case StartAttempt:
		text := "-> start " + attemptText(e.ID)
		if e.Resumed {
			text += " again"
		}
		if e.Running {
			text += ", was running"
		}
		return text
	case StopAttempt:
		return "-> stop " + attemptText(e.ID) + " " + stopNames[e.Cause]
	case ForgetAttempt:
		return "-> forget " + attemptText(e.ID)
	case RunBuiltin:
		return "-> builtin " + attemptText(e.ID)
	case Lookup:
		text := "-> lookup " + actionText(e.ID)
		if e.CacheKey != "" {
			text += " key " + e.CacheKey
		}
		if e.RecoverFrom != nil {
			text += " recover from " + e.RecoverFrom.Name
		}
		return text
	case PostWebhook:
		return "-> webhook " + actionText(e.ID)
	}
	return fmt.Sprintf("-> %T", effect)
}
