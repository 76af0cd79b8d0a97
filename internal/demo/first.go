package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"biplane.dev/biplane/internal/data/images"
	"biplane.dev/biplane/internal/tether"
)

// hello is the first program; a copy of examples/hello/hello.py, held equal by a test.
//
//go:embed examples/hello.py
var hello []byte

// firstProgram makes the environment that tasks run in, and sends the first program through both planes with it.
func (d *demo) firstProgram(ctx context.Context) error {
	began := time.Now()
	d.say.step("The environment of the tasks: Python with the stock flyte SDK (made once, shared by all demos)")
	store, err := images.Open(images.Config{Cache: d.Cache})
	if err != nil {
		return err
	}
	env, err := store.Base(ctx, func(line string) { d.say.line("  %s", line) })
	if err != nil {
		return err
	}
	d.say.done(began, "ready")
	program := filepath.Join(d.folder("examples"), "hello.py")
	if err := os.MkdirAll(filepath.Dir(program), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(program, hello, 0o600); err != nil {
		return err
	}
	began = time.Now()
	d.say.step("A first program: %s", program)
	running, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if err := d.stay(running); err != nil { // without planes the program would wait for ever
			stop()
		}
	}()
	command := exec.CommandContext(running, env.Python, program)
	command.Dir = filepath.Dir(program)
	command.Env = append(os.Environ(), "FLYTECTL_CONFIG="+d.folder("flyte.yaml"), "DO_NOT_TRACK=1", "NO_PROXY=localhost,127.0.0.1", "PYTHONUNBUFFERED=1")
	command.Stdout, command.Stderr = d.Out, d.Err
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 5 * time.Second
	if err := tether.Run(command); err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		for _, p := range d.planes {
			if err := p.failure(); err != nil {
				return err
			}
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return ErrFirstRunFailed
		}
		return fmt.Errorf("the first program could not be started: %w", err)
	}
	d.say.done(began, "done")
	return os.WriteFile(d.folder("first-program"), []byte("succeeded\n"), 0o600)
}
