package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// Options of a demo.
type Options struct {
	State     string // folder; made when missing
	Ephemeral bool   // remove State at the end
	Port      int    // of the gateway on loopback; 0 is any free one
	Serve     bool   // start, say "ready", stay; no first program
	Programs  string // folder with biplane-control, biplane-data, biplane-runner
	Cache     string // of environments; "" is the user's cache folder
	Terminal  bool   // somebody watches
	Out       io.Writer
	Err       io.Writer
	PlaneArgs []string // more flags for biplane-data
}

// ErrFirstRunFailed is the error of a demo whose first program did not succeed.
var ErrFirstRunFailed = errors.New("the first program did not succeed; its output is above")

// errInterrupted is the error of a demo that was told to end before it had done what it was started for.
var errInterrupted = errors.New("interrupted")

// startTimeout is how long a plane may take to accept work.
const startTimeout = 30 * time.Second

// Run runs the demo until ctx is done, or, without a terminal, until the first program has ended.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{Options: o, say: newSpeaker(o.Out, o.Terminal)}
	if err := d.openState(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.closeState()) }()
	if err := checkPython(); err != nil {
		return err
	}
	if err := d.awaitPredecessor(ctx); err != nil {
		return err
	}
	if err := d.checkPort(ctx); err != nil {
		return err
	}
	planes, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		stop()
		d.wait()
	}()
	if err := d.start(ctx, planes); err != nil {
		return err
	}
	if err := d.writeClientConfig(); err != nil {
		return err
	}
	if o.Serve {
		fmt.Fprintln(o.Out, "ready")
		return d.stay(ctx)
	}
	d.say.line("Two planes run on this machine.")
	d.say.fact("data plane", "http://localhost:%d   (holds and runs everything: %s)", d.port, d.folder("data"))
	d.say.fact("control plane", "%s   (names, states, pointers: %s)", d.read("control/admin.addr"), d.folder("control"))
	first := d.firstTime()
	if first || !o.Terminal {
		if err := d.firstProgram(ctx); err != nil {
			return err
		}
	}
	d.say.next(d.folder("flyte.yaml"), d.State, d.isDefault)
	if !o.Terminal {
		return nil
	}
	d.say.line("Press Ctrl-C to stop.")
	return d.stay(ctx)
}

type demo struct {
	Options
	say       *speaker
	lock      *os.File // held while this demo runs
	alive     *os.File // a lock that the planes inherit: it is free when the last of them has gone
	isDefault bool
	port      int
	planes    []*process
}

func (d *demo) folder(name string) string { return filepath.Join(d.State, name) }

func (d *demo) read(name string) string {
	raw, err := os.ReadFile(d.folder(name))
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(raw))
}

// start starts both planes, side by side from the second time on, and waits until both accept work.
func (d *demo) start(ctx, planes context.Context) error {
	control := newProcess("biplane-control", d.Programs, d.folder("logs/control.log"), d.alive, func() []string {
		return []string{"--state", d.folder("control"), "--local-plane", "local=" + d.folder("data/tls"), "--lifeline"}
	})
	data := newProcess("biplane-data", d.Programs, d.folder("logs/data.log"), d.alive, func() []string {
		args := []string{
			"--state", d.folder("data"), "--tls", d.folder("data/tls"), "--control", d.folder("control/link.addr"), "--lifeline",
			"--end-attempts", "--grace", "5s", "--orphan-grace", "15s", "--listen", fmt.Sprintf("127.0.0.1:%d", d.port),
		}
		if d.Cache != "" {
			args = append(args, "--cache", d.Cache)
		}
		return append(args, d.PlaneArgs...)
	})
	d.port = d.Port
	d.planes = []*process{control, data}
	// What killed planes left would lead nowhere.
	for _, name := range []string{"control/admin.addr", "control/link.addr", "data/gateway.addr"} {
		if err := os.Remove(d.folder(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	ready, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err := os.Stat(d.folder("data/tls/tls.crt"))
	enrolled := err == nil
	if err := control.start(); err != nil {
		return err
	}
	if enrolled { // else the control plane enrols the data plane first
		if err := data.start(); err != nil {
			return err
		}
	}
	if err := control.await(ready, d.folder("control/admin.addr")); err != nil {
		return err
	}
	if !enrolled {
		if err := data.start(); err != nil {
			return err
		}
	}
	if err := data.await(ready, d.folder("data/gateway.addr")); err != nil {
		return err
	}
	if _, err := fmt.Sscanf(afterColon(d.read("data/gateway.addr")), "%d", &d.port); err != nil {
		return fmt.Errorf("the data plane gave no address: %w", err)
	}
	for _, p := range d.planes {
		go p.keep(planes, func(text string) { fmt.Fprintln(d.Err, "biplane demo:", text) })
	}
	return nil
}

func afterColon(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// wait ends the planes: the data plane first, so that it can report its last states.
func (d *demo) wait() {
	for i := len(d.planes) - 1; i >= 0; i-- {
		d.planes[i].end()
	}
}

// stay waits for the end: ctx, or a plane that cannot be kept running.
func (d *demo) stay(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.planes[0].broken:
		return d.planes[0].failure()
	case <-d.planes[1].broken:
		return d.planes[1].failure()
	}
}

func (d *demo) writeClientConfig() error {
	text := fmt.Sprintf(`# How the flyte SDK and CLI reach this demo: flyte --config %s run hello.py main
admin:
  endpoint: localhost:%d
  insecure: true
task:
  project: flytesnacks
  domain: development
image:
  builder: remote
`, d.folder("flyte.yaml"), d.port)
	if err := os.WriteFile(d.folder("flyte.yaml"), []byte(text), 0o600); err != nil {
		return fault.Wrap(err, fault.KindPrecondition, "the client config could not be written: %v", err)
	}
	return nil
}
