package placement

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the scripts' expected output anew")

const grace = time.Minute

// script is a control plane without anything around it:
//
//	plane NAME pool= bucket= cpu= used= queued= label=K:V silent=DURATION draining    how a plane is, as a whole
//	report PLANE RUN epoch= created= ended                                            what a plane says of a run
//	grant RUN FROM TO                                                                 the control plane gives it on
//	choose pool= bucket= cpu= label=K:V                                               where a run may go
//	successor PLANE                                                                   who may go on with a plane's runs
type script struct {
	planes map[string]Plane
	runs   map[string]Register
}

// TestScripts runs testdata/*.txt: blocks of commands, a line "----", and what they must print up to an empty line.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no scripts", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := &script{planes: map[string]Plane{}, runs: map[string]Register{}}
		var anew strings.Builder
		for block := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
			commands, want, _ := strings.Cut(block+"\n", "----\n")
			var got strings.Builder
			for line := range strings.SplitSeq(strings.TrimSpace(commands), "\n") {
				if !strings.HasPrefix(line, "#") {
					got.WriteString(s.command(strings.Fields(line)))
				}
			}
			if !*update && strings.TrimSpace(got.String()) != strings.TrimSpace(want) {
				t.Errorf("%s:\n%s----\ngot\n%s\nwant\n%s", file, commands, got.String(), want)
			}
			anew.WriteString(strings.TrimSpace(commands) + "\n----\n" + got.String() + "\n")
		}
		if *update {
			if err := os.WriteFile(file, []byte(strings.TrimSpace(anew.String())+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (s *script) command(words []string) string {
	args, opts := []string{}, map[string]string{}
	for _, w := range words[1:] {
		if key, value, ok := strings.Cut(w, "="); ok {
			opts[key] = value
		} else {
			args, opts[w] = append(args, w), "true"
		}
	}
	number := func(key string, otherwise int64) int64 {
		if opts[key] == "" {
			return otherwise
		}
		n, err := strconv.ParseInt(opts[key], 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	labels := map[string]string{}
	if key, value, ok := strings.Cut(opts["label"], ":"); ok {
		labels[key] = value
	}
	switch words[0] {
	case "plane":
		p := Plane{Name: args[0], Pool: opts["pool"], Bucket: opts["bucket"], Labels: labels, CPUMillis: number("cpu", 4000), Memory: 1 << 30,
			CPUUsed: number("used", 0), Queued: number("queued", 0), Reporting: opts["silent"] == "", Draining: opts["draining"] != "", Heard: now}
		if silent, err := time.ParseDuration(opts["silent"]); err == nil {
			p.Heard = now.Add(-silent)
		}
		s.planes[p.Name] = p
		return ""
	case "report":
		c := Claim{Plane: args[0], Epoch: number("epoch", 1), Created: number("created", 1), Ended: opts["ended"] != ""}
		after, recorded, stops := s.runs[args[1]].Report(c)
		s.runs[args[1]] = after
		word := "refused"
		if recorded {
			word = "recorded"
		}
		return fmt.Sprintf("%s from %s: %s; %s", args[1], args[0], word, s.tell(args[1], stops))
	case "grant":
		from, ok := s.runs[args[0]].Of(args[1])
		if !ok {
			return args[1] + " does not have it\n"
		}
		after, lease, stops := s.runs[args[0]].Grant(from, args[2], 0)
		s.runs[args[0]] = after
		return fmt.Sprintf("%s to %s under %d; %s", args[0], lease.Plane, lease.Epoch, s.tell(args[0], stops))
	case "choose":
		need := Need{Pool: opts["pool"], Bucket: opts["bucket"], CPUMillis: number("cpu", 0), Labels: labels}
		if p, ok := Choose(s.all(), need); ok {
			return p.Name + "\n"
		}
		var why []string
		for _, p := range s.all() {
			why = append(why, p.Name+" "+need.Refuses(p).String())
		}
		return "nobody: " + strings.Join(why, ", ") + "\n"
	case "successor":
		if p, ok := Successor(s.planes[args[0]], s.all(), now, grace); ok {
			return p.Name + "\n"
		}
		return "nobody\n"
	default:
		panic("unknown command " + words[0])
	}
}

var now = time.Unix(1_000_000, 0)

func (s *script) all() []Plane {
	return slices.SortedFunc(maps.Values(s.planes), func(a, b Plane) int { return strings.Compare(a.Name, b.Name) })
}

func (s *script) tell(run string, stops []Stop) string {
	text := "nobody holds it"
	if holder, ok := s.runs[run].Holder(); ok {
		text = fmt.Sprintf("%s holds it under %d", holder.Plane, holder.Epoch)
	}
	for _, stop := range stops {
		text += fmt.Sprintf("; stop %s up to %d: %s, see %s", stop.Plane, stop.Epoch, stop.Reason, stop.Holder)
	}
	return text + "\n"
}
