package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"biplane.dev/biplane/internal/fault"
)

const (
	// maxRestarts within restartWindow: a plane that dies more often is not started again.
	maxRestarts   = 5
	restartWindow = time.Minute
	endTimeout    = 20 * time.Second
)

// process is one plane: the real binary, started again when it dies.
type process struct {
	name    string
	program string
	logPath string
	args    func() []string
	held    *os.File      // a lock that lives as long as any of the planes
	broken  chan struct{} // closed when it is given up

	mu      sync.Mutex
	command *exec.Cmd
	pipe    io.WriteCloser // its end is the process's sign to stop
	exited  chan struct{}
	ending  bool
	why     error
}

func newProcess(name, programs, logPath string, held *os.File, args func() []string) *process {
	return &process{name: name, program: filepath.Join(programs, name), logPath: logPath, args: args, held: held, broken: make(chan struct{})}
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return nil
	}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.Wrap(err, fault.KindPrecondition, "the log %s cannot be written: %v", p.logPath, err)
	}
	defer log.Close()
	p.command = exec.Command(p.program, p.args()...)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.ExtraFiles = []*os.File{p.held}
	// A process group of its own: Ctrl-C reaches the demo alone, which then stops the planes in order.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.pipe, err = p.command.StdinPipe(); err != nil {
		return err
	}
	if err := p.command.Start(); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fault.New(fault.KindPrecondition, "%s is not there; it belongs beside biplane (make build)", p.program)
		}
		return fault.Wrap(err, fault.KindPrecondition, "%s could not be started: %v", p.program, err)
	}
	p.exited = make(chan struct{})
	go func(command *exec.Cmd, exited chan struct{}) {
		_ = command.Wait()
		close(exited)
	}(p.command, p.exited)
	return nil
}

// await waits until the plane has written the file, which it does when it accepts work.
func (p *process) await(ctx context.Context, file string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if raw, err := os.ReadFile(file); err == nil && len(bytes.TrimSpace(raw)) > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fault.New(fault.KindPrecondition, "%s", p.lastWords())
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return errInterrupted
			}
			return fault.New(fault.KindUnavailable, "%s does not get ready; see %s", p.name, p.logPath)
		}
	}
}

// lastWords is what a plane that could not start said: its last line is one clear sentence.
func (p *process) lastWords() string {
	raw, _ := os.ReadFile(p.logPath)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}

// keep starts the plane again when it dies, until ctx is done or it dies too often.
func (p *process) keep(ctx context.Context, tell func(string)) {
	var deaths []time.Time
	for {
		select {
		case <-p.exited:
		case <-ctx.Done():
			return
		}
		p.mu.Lock()
		ending := p.ending
		p.mu.Unlock()
		if ending || ctx.Err() != nil {
			return
		}
		deaths = append(deaths, time.Now())
		if len(deaths) > maxRestarts && time.Since(deaths[len(deaths)-1-maxRestarts]) < restartWindow {
			p.giveUp(fmt.Errorf("%s died %d times within a minute; see %s", p.name, maxRestarts+1, p.logPath))
			return
		}
		tell(p.name + " ended unexpectedly and is started again; see " + p.logPath)
		if err := p.start(); err != nil {
			p.giveUp(err)
			return
		}
	}
}

func (p *process) giveUp(why error) {
	p.mu.Lock()
	p.why = why
	p.mu.Unlock()
	close(p.broken)
}

func (p *process) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why
}

// end stops the plane and waits until it has gone.
func (p *process) end() {
	p.mu.Lock()
	p.ending = true
	command, exited, pipe := p.command, p.exited, p.pipe
	p.mu.Unlock()
	if command == nil || exited == nil {
		return
	}
	pipe.Close()
	_ = command.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(endTimeout):
		_ = command.Process.Kill()
		<-exited
	}
}
