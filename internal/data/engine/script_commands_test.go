package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"biplane.dev/biplane/internal/names"
)

// script is a driver with commands:
//
//	machine cpu=2000 memory=64 default=1000 processes=0 actions=0 system-retries=3 at-once=0    a new, empty plane
//	task NAME cpu= memory= retries= backoff=1s,2,10s runtime= queued= deadline= serialize maxage= nofit= builtin=sleep|echo
//	create RUN TASK digest= concurrency= overwrite recover=RUN force=A,B key=
//	enqueue RUN/PARENT NAME TASK key= sleep=      trace RUN/PARENT NAME failed      condition RUN/PARENT NAME timeout= webhook
//	lookup RUN/ACTION gone                        answers from the book; gone: the outputs are no more
//	started|ok RUN/ACTION[#ATTEMPT]               fail|system RUN/ACTION[#ATTEMPT] CODE fatal
//	signal RUN/CONDITION VALUE                    abort RUN[/ACTION] REASON code=
//	drain [off]                                   new runs are refused
//	wait DURATION                                 restart
//	why                                           every unfinished action, its phase and what it waits for
//	slots                                         what attempts hold
//
// What follows "together" in a block is one commit. A command's output is what the commit holds, in its order.
type script struct {
	*driver
	tasks map[string]*Task
}

func newScript() *script {
	return &script{driver: newDriver(Config{CPUMillis: 2000, Memory: 64, DefaultCPUMillis: 1000, DefaultMemory: 1, SystemRetries: 3}), tasks: map[string]*Task{}}
}

func (s *script) block(commands []string) string {
	var b strings.Builder
	together := false
	for _, line := range commands {
		if line == "together" {
			together = true
			continue
		}
		words := strings.Fields(line)
		told := s.command(words[0], words[1:])
		if told == "" && !together {
			out := s.settle()
			told = s.print(out)
			s.rehearse()
		}
		b.WriteString(told)
	}
	if together {
		b.WriteString(s.print(s.settle()))
		s.rehearse()
	}
	return b.String()
}

// options splits words into those of the form key=value and the rest; a bare word is also an option "true".
type options map[string]string

func parse(words []string) (args []string, opts options) {
	opts = options{}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if ok {
			opts[key] = value
			continue
		}
		args = append(args, w)
		opts[w] = "true"
	}
	return args, opts
}

func (o options) int(key string) int64 {
	n, err := strconv.ParseInt(cmp.Or(o[key], "0"), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (o options) duration(key string) time.Duration {
	d, err := time.ParseDuration(cmp.Or(o[key], "0s"))
	if err != nil {
		panic(err)
	}
	return d
}

func (s *script) command(name string, words []string) string {
	args, opts := parse(words)
	switch name {
	case "machine":
		problems := s.problems
		s.driver = newDriver(Config{
			CPUMillis: opts.int("cpu"), Memory: cmp.Or(opts.int("memory"), 64), DefaultCPUMillis: cmp.Or(opts.int("default"), 1000), DefaultMemory: 1,
			MaxProcesses: int(opts.int("processes")), MaxActions: int(opts.int("actions")), SystemRetries: uint32(cmp.Or(opts.int("system-retries"), 3)),
			EndsAtOnce: int(opts.int("at-once")),
		})
		s.problems = problems
	case "task":
		s.tasks[args[0]] = task(args[0], opts)
	case "create":
		s.create(args, opts)
	case "enqueue", "trace", "condition":
		s.enqueue(name, args, opts)
	case "lookup":
		e, asked := s.lookups[action(args[0])]
		if !asked {
			return "no lookup of " + args[0] + " is under way\n"
		}
		s.step(s.answer(e, opts["gone"] != ""))
	case "started":
		s.step(AttemptStarted{ID: s.attempt(args[0]), At: s.now})
	case "ok":
		id := s.attempt(args[0])
		s.step(AttemptEnded{ID: id, Outcome: Outcome{OK: true, OutputURI: OutputDir("base", id.Action.Action, id.Number), At: s.now}})
	case "fail", "system":
		code := "Boom"
		if len(args) > 1 && args[1] != "fatal" {
			code = args[1]
		}
		failure := &Error{Code: code, Message: "it broke", Kind: ErrorUser, Recoverable: opts["fatal"] == ""}
		s.step(AttemptEnded{ID: s.attempt(args[0]), Outcome: Outcome{Error: failure, System: name == "system", At: s.now}})
	case "signal":
		s.step(Signal{Ticket: name, ID: action(args[0]), Value: []byte(args[1]), By: "ann"})
	case "abort":
		reason := strings.Join(args[1:], " ")
		if run, act, deep := strings.Cut(args[0], "/"); deep {
			s.step(AbortAction{Ticket: name, ID: names.Action{Run: runID(run), Action: act}, Reason: reason, By: "ann"})
		} else {
			s.step(AbortRun{Ticket: name, Run: runID(run), Reason: reason, By: "ann", Code: opts["code"]})
		}
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			panic(err)
		}
		s.now = s.now.add(d)
		s.step(Tick{})
	case "drain":
		s.draining = opts["off"] == ""
		s.state.Drain(s.draining)
	case "restart":
		s.crash()
	case "why":
		return s.why()
	case "slots":
		l := s.state.Load()
		return fmt.Sprintf("%d actions, %d alive, %d hold %d cpu %d memory\n", l.Actions, l.Alive, l.Holding, l.CPUMillis, l.Memory)
	default:
		panic("unknown command " + name)
	}
	return ""
}

func task(name string, opts options) *Task {
	t := &Task{
		Digest: name, Name: name, Retries: uint32(opts.int("retries")), MaxRuntime: opts.duration("runtime"), QueuedTimeout: opts.duration("queued"),
		Deadline: opts.duration("deadline"), Serialize: opts["serialize"] != "", CacheMaxAge: opts.duration("maxage"), CPUMillis: opts.int("cpu"),
		Memory: opts.int("memory"), NoFit: opts["nofit"],
	}
	switch opts["builtin"] {
	case "sleep":
		t.Builtin = BuiltinSleep
	case "echo":
		t.Builtin = BuiltinEcho
	}
	if parts := strings.Split(opts["backoff"], ","); len(parts) == 3 {
		factor, _ := strconv.ParseFloat(parts[1], 64)
		base := options{"base": parts[0], "cap": parts[2]}
		t.Backoff = Backoff{Base: base.duration("base"), Factor: factor, Cap: base.duration("cap")}
	}
	return t
}

func (s *script) create(args []string, opts options) {
	run := &Run{
		Name: runID(args[0]), Digest: cmp.Or(opts["digest"], args[0]), MaxConcurrency: uint32(opts.int("concurrency")), OverwriteCache: opts["overwrite"] != "",
	}
	if from := opts["recover"]; from != "" {
		id := runID(from)
		run.RecoverFrom, run.ForceRerun = &id, map[string]bool{}
		for _, a := range strings.Split(opts["force"], ",") {
			run.ForceRerun[a] = true
		}
	}
	root := ActionSpec{Name: "a0", Kind: KindTask, Task: s.known(args[1]), CacheKey: opts["key"], OutputBase: "base", Sleep: opts.duration("sleep")}
	s.step(CreateRun{Ticket: "create", Run: run, Root: root})
}

func (s *script) enqueue(kind string, args []string, opts options) {
	parent := action(args[0])
	spec := ActionSpec{Name: args[1], Parent: parent.Action, CacheKey: opts["key"], OutputBase: "base", Sleep: opts.duration("sleep")}
	switch kind {
	case "enqueue":
		spec.Kind, spec.Task = KindTask, s.known(args[2])
	case "trace":
		spec.Kind, spec.Trace = KindTrace, &TraceEnd{Phase: PhaseSucceeded, Started: s.now, Ended: s.now, OutputURI: "traced/" + args[1]}
		if opts["failed"] != "" {
			spec.Trace = &TraceEnd{Phase: PhaseFailed, Started: s.now, Ended: s.now, Error: &Error{Code: "Boom", Message: "in a trace", Kind: ErrorUser}}
		}
	case "condition":
		spec.Kind, spec.Timeout = KindCondition, opts.duration("timeout")
		if opts["webhook"] != "" {
			spec.Detail = []byte("hook")
		}
	}
	s.step(Enqueue{Ticket: kind, Run: parent.Run, Spec: spec})
}

// known finds a task by its name; one that no command has described asks for nothing.
func (s *script) known(name string) *Task {
	if s.tasks[name] == nil {
		s.tasks[name] = task(name, options{})
	}
	return s.tasks[name]
}

func (s *script) why() string {
	var all []*Action
	for _, run := range s.state.runs {
		run.Open(func(a *Action) { all = append(all, a) })
	}
	slices.SortFunc(all, func(x, y *Action) int { return cmp.Compare(actionText(x.ID()), actionText(y.ID())) })
	var b strings.Builder
	for _, a := range all {
		fmt.Fprintf(&b, "%s#%d %s %s\n", actionText(a.ID()), a.Attempt, a.Phase, s.state.Explain(a))
	}
	return cmp.Or(b.String(), "nothing\n")
}

func runID(name string) names.Run {
	return names.Run{Project: names.Project{Org: names.Org, Project: "p", Domain: "d"}, Name: name}
}

func action(text string) names.Action {
	run, name, _ := strings.Cut(text, "/")
	return names.Action{Run: runID(run), Action: name}
}

// attempt reads RUN/ACTION#N; without a number it is the attempt of the moment.
func (s *script) attempt(text string) names.Attempt {
	text, number, given := strings.Cut(text, "#")
	id := names.Attempt{Action: action(text), Number: 1}
	if a := s.state.Find(id.Action); a != nil && !given {
		id.Number = a.Attempt
	}
	if n, err := strconv.ParseUint(number, 10, 32); given && err == nil {
		id.Number = uint32(n)
	}
	return id
}
