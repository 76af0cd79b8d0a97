// Bench measures Biplane: what the planes bear, what an action costs them, and what the stock SDK makes of it. It starts
// the real binaries on new state folders, prints a table and appends every figure to a file below bench/out.
//
//	go run ./bench                      the cases of `make bench`
//	go run ./bench -list                what there is
//	go run ./bench fanout chain         some of them
//	go run ./bench -long finished       a million actions rather than a hundred thousand
//
// It judges nothing: a figure has a mark beside it, and a busy machine misses marks. docs/performance.md says how each
// case works.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
)

// bench is what the cases share.
type bench struct {
	programs process.Programs
	python   string // with the stock SDK, for the client and for the tasks
	repeats  int
	long     bool
	report   *report.Report
}

// suite is a group of figures that are measured together and share a file.
type suite struct {
	name string
	what string
	run  func(*bench, context.Context) error
}

var suites = []suite{
	{name: "fanout", what: "one parent with 1,000, 6,000 and 100,000 children that end at once; costs per action", run: (*bench).fanOuts},
	{name: "chain", what: "500 children, each enqueued when the one before has ended", run: (*bench).chain},
	{name: "swarm", what: "50 parents with 1,000 children each", run: (*bench).swarm},
	{name: "create", what: "CreateRun per second", run: (*bench).create},
	{name: "planes", what: "fan-out with a control plane that is told of everything", run: (*bench).planes},
	{name: "held", what: "memory of 50,000 actions that are not finished", run: (*bench).held},
	{name: "finished", what: "memory while 100,000 (with -long 1,000,000) actions come and go", run: (*bench).finished},
	{name: "tunnel", what: "a relay and a tunnel session against direct TLS: latency, throughput, 40 ms of round trip, stalled flows, memory of streams", run: (*bench).tunnel},
	{name: "sdk", what: "the same with the stock SDK: fan-out, chain, flyte run, and where the time of a Python task goes", run: (*bench).sdk},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	b := &bench{}
	list := flag.Bool("list", false, "say what there is, and end")
	out := flag.String("out", filepath.Join("bench", "out"), "`folder` of the files of figures")
	flag.IntVar(&b.repeats, "repeats", 3, "how `often` each figure is measured; the long cases once")
	flag.BoolVar(&b.long, "long", false, "a million finished actions rather than a hundred thousand: many minutes")
	flag.StringVar(&b.programs.Folder, "programs", "bin", "`folder` of the binaries")
	flag.StringVar(&b.programs.Cache, "cache", "", "`folder` of Python environments (default the user's)")
	flag.StringVar(&b.python, "python", os.Getenv("BIPLANE_PYTHON"), "`interpreter` with the stock SDK (default $BIPLANE_PYTHON, else .venv/bin/python)")
	flag.Parse()
	if *list {
		for _, s := range suites {
			fmt.Printf("%-10s %s\n", s.name, s.what)
		}
		return nil
	}
	chosen, err := choose(flag.Args())
	if err != nil {
		return err
	}
	if b.python == "" {
		b.python = filepath.Join(".venv", "bin", "python")
	}
	// The name as it is, not where it leads: the interpreter of a virtual environment is a link.
	if b.python, err = filepath.Abs(b.python); err != nil {
		return err
	}
	if b.programs.Folder, err = filepath.Abs(b.programs.Folder); err != nil {
		return err
	}
	if b.report, err = report.Open(*out); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	describe()
	var failures []error
	for _, s := range chosen {
		fmt.Fprintln(os.Stderr, "bench:", s.name+":", s.what)
		if err := s.run(b, ctx); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", s.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Print("\n", b.report.Table())
	return errors.Join(failures...)
}

func choose(names []string) (chosen []suite, err error) {
	if len(names) == 0 {
		return suites, nil
	}
	for _, name := range names {
		i := slices.IndexFunc(suites, func(s suite) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no case %q; go run ./bench -list says what there is", name)
		}
		chosen = append(chosen, suites[i])
	}
	return chosen, nil
}

// describe says on what machine this is, for whoever keeps the output.
func describe() {
	kernel, err := exec.Command("uname", "-srm").Output()
	if err != nil {
		kernel = []byte("?")
	}
	load, err := process.Load()
	if err != nil {
		load = -1
	}
	fmt.Printf("%s, %d cores, %s, load %.1f\n", strings.TrimSpace(string(kernel)), runtime.NumCPU(), runtime.Version(), load)
}
