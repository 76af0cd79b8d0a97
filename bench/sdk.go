package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"biplane.dev/biplane/bench/internal/controller"
	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
)

// Sizes of the SDK's cases, and how often a leaf is run: it is short, so more often than the others.
const (
	sdkFan, sdkChain = 6000, 500
	leavesPerRepeat  = 5
)

// sdk measures what a user of the stock SDK gets: its own share is large, so each figure has a floor that no plane can go
// below (docs/performance.md).
func (b *bench) sdk(ctx context.Context) error {
	if _, err := os.Stat(b.python); err != nil {
		return fmt.Errorf("the interpreter with the SDK is not there: %w (make venv makes it)", err)
	}
	t := b.table("sdk")
	err := b.onPlane(ctx, func(plane *process.Plane) error {
		s := &sdk{bench: b, table: t, plane: plane, config: filepath.Join(plane.State, "flyte.yaml")}
		if err := s.configure(); err != nil {
			return err
		}
		// Environments, bytecode and the bundle are made once, before the first reading.
		if _, err := s.program(ctx, "leaf", 1); err != nil {
			return err
		}
		for range b.repeats {
			for _, measure := range []func(context.Context) error{s.fan, s.chain, s.leaves, s.hello} {
				if err := errors.Join(measure(ctx), idle(ctx, s.plane)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return errors.Join(err, t.done())
}

type sdk struct {
	*bench
	table  *table
	plane  *process.Plane
	config string
}

func (s *sdk) endpoint() string { return strings.TrimPrefix(s.plane.URL, "http://") }

func (s *sdk) configure() error {
	text := fmt.Sprintf("admin:\n  endpoint: %s\n  insecure: true\ntask:\n  project: flytesnacks\n  domain: development\nimage:\n  builder: remote\n", s.endpoint())
	return os.WriteFile(s.config, []byte(text), 0o600)
}

// seen is one line of sdk/measure.py.
type seen struct {
	Submit float64         `json:"submit"` // seconds of flyte.run
	Total  float64         `json:"total"`  // seconds until the outputs were read
	Run    string          `json:"run"`
	Value  json.RawMessage `json:"value"`
}

// program runs a case of sdk/measure.py and returns its lines.
func (s *sdk) program(ctx context.Context, name string, argument int) (lines []seen, err error) {
	out, err := s.command(ctx, s.python, filepath.Join("bench", "sdk"), "measure.py", s.endpoint(), name, strconv.Itoa(argument))
	if err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(bytes.NewReader(out))
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		if !bytes.HasPrefix(scanner.Bytes(), []byte("{")) {
			continue // the SDK's own words
		}
		var line seen
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, scanner.Err()
}

func (s *sdk) command(ctx context.Context, program, folder string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = folder
	command.Env = append(os.Environ(), "FLYTECTL_CONFIG="+s.config, "DO_NOT_TRACK=1", "NO_PROXY=localhost,127.0.0.1")
	var problem bytes.Buffer
	command.Stderr = &problem
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, problem.String())
	}
	return out, nil
}

// one runs a program once within a window.
func (s *sdk) one(ctx context.Context, name string, argument int) (line seen, c cost, err error) {
	w, err := open(ctx, s.plane)
	if err != nil {
		return line, c, err
	}
	lines, err := s.program(ctx, name, argument)
	if err != nil {
		return line, c, err
	}
	if len(lines) != 1 {
		return line, c, fmt.Errorf("program %s said %d lines, want 1", name, len(lines))
	}
	c, err = w.close(ctx)
	return lines[0], c, err
}

func (s *sdk) fan(ctx context.Context) error {
	line, c, err := s.one(ctx, "fan", sdkFan)
	if err != nil {
		return err
	}
	var seconds float64
	if err := json.Unmarshal(line.Value, &seconds); err != nil {
		return err
	}
	s.table.add(c, "sdk/fan-6000", seconds, "s", report.Lower, 20, "in the parent, first call to last result")
	s.table.add(c, "sdk/fan-6000/cpu", us(c.data.CPU)/sdkFan, "µs/action", report.Lower, 0, "CPU of the data plane")
	return nil
}

func (s *sdk) chain(ctx context.Context) error {
	line, c, err := s.one(ctx, "chain", sdkChain)
	if err != nil {
		return err
	}
	var hops []float64
	if err := json.Unmarshal(line.Value, &hops); err != nil {
		return err
	}
	times, sum := make([]time.Duration, len(hops)), 0.0
	for i, hop := range hops {
		times[i] = seconds(hop)
		sum += hop
	}
	s.table.add(c, "sdk/chain-500", sum, "s", report.Lower, 5, "in the parent")
	s.table.add(c, "sdk/chain-500/hop-p50", ms(quantile(times, 0.5)), "ms", report.Lower, 0, "")
	return nil
}

// leaves says where the time of a Python task goes that does nothing. The plane's own clock and the task's are the same.
func (s *sdk) leaves(ctx context.Context) error {
	w, err := open(ctx, s.plane)
	if err != nil {
		return err
	}
	lines, err := s.program(ctx, "leaf", leavesPerRepeat)
	if err != nil {
		return err
	}
	c, err := w.close(ctx)
	if err != nil {
		return err
	}
	client := controller.NewClient(s.plane.URL)
	defer client.Close()
	for _, line := range lines {
		var said []float64
		if err := json.Unmarshal(line.Value, &said); err != nil {
			return err
		}
		if len(said) != 2 {
			return fmt.Errorf("the leaf said %v, want two times", said)
		}
		moments, err := client.Moments(ctx, line.Run)
		if err != nil {
			return err
		}
		imported, called := clock(said[0]), clock(said[1])
		for _, step := range []struct {
			name string
			took time.Duration
			mark float64
			note string
		}{
			{"submit", seconds(line.Submit), 0, "SDK, client: flyte.run until the run is created"},
			{"admit", moments.Admitted.Sub(moments.Queued), 0, "plane: committed until admitted"},
			{"start", moments.Started.Sub(moments.Admitted), 0, "plane: admitted until the process is there"},
			{"import", imported.Sub(moments.Started), 0, "SDK: interpreter, imports, code bundle"},
			{"call", called.Sub(imported), 0, "SDK: module read until the function is called"},
			{"finish", moments.Ended.Sub(called), 0, "SDK: outputs and the interpreter's end; plane: until the end is committed"},
			{"to-user-code", called.Sub(moments.Queued), 0, "enqueue to user code"},
			{"overhead", moments.Started.Sub(moments.Queued), 20, "the plane's part of it"},
			{"total", seconds(line.Total), 0, "flyte.run until the outputs are in the client"},
		} {
			s.table.add(c, "sdk/leaf/"+step.name, ms(step.took), "ms", report.Lower, step.mark, step.note)
		}
	}
	return nil
}

// hello is what somebody with a shell sees: the command line's run, and the program that prints its result.
func (s *sdk) hello(ctx context.Context) error {
	const folder = "examples/hello"
	for _, way := range []struct {
		name, program string
		args          []string
		note          string
	}{
		{"sdk/flyte-run", filepath.Join(filepath.Dir(s.python), "flyte"), []string{"--config", s.config, "run", "hello.py", "main", "--n", "5"}, "flyte run hello.py main, from Enter to the prompt: the run is created"},
		{"sdk/hello", s.python, []string{"hello.py"}, "python hello.py, from Enter to the result: a parent and four children"},
	} {
		w, err := open(ctx, s.plane)
		if err != nil {
			return err
		}
		if _, err := s.command(ctx, way.program, folder, way.args...); err != nil {
			return err
		}
		c, err := w.close(ctx)
		if err != nil {
			return err
		}
		if err := idle(ctx, s.plane); err != nil {
			return err
		}
		s.table.add(c, way.name, c.elapsed.Seconds(), "s", report.Lower, 0, way.note)
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// clock is a time that Python gave as seconds since 1970.
func clock(s float64) time.Time { return time.UnixMicro(int64(s * 1e6)) }
