// Biplane-data is the data plane: it holds and runs everything, and reports names, states and pointers to the control plane.
package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/alecthomas/kong"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/data/plane"
	"biplane.dev/biplane/internal/link/dial"
	"biplane.dev/biplane/internal/tether"
)

type options struct {
	State        string        `required:"" type:"path" placeholder:"DIR" help:"Folder of the plane's journal, bucket, logs and attempts."`
	Cache        string        `type:"path" placeholder:"DIR" help:"Folder of environments and downloads, shared by planes. Default: the user's cache folder."`
	Python       string        `placeholder:"PROGRAM" help:"Interpreter of the base environment. Default: python3."`
	Listen       string        `default:"127.0.0.1:0" placeholder:"ADDR" help:"Where clients and tasks connect; plain HTTP, so loopback only. Default: a free port."`
	Control      string        `placeholder:"ADDR" help:"Link of the control plane: host:port, or the absolute path of a file that holds it."`
	TLS          string        `name:"tls" type:"path" placeholder:"DIR" help:"Folder with ca.crt, tls.crt and tls.key for the link."`
	CAFile       []string      `name:"ca-file" type:"existingfile" placeholder:"FILE" help:"Certificates to trust, beside the system's, when the proxy that HTTPS_PROXY names is reached over TLS."`
	CPU          float64       `placeholder:"CORES" help:"Cores that tasks may take together. Default: all."`
	Memory       int64         `placeholder:"MIB" help:"MiB of memory that tasks may take together. Default: the machine's."`
	MaxProcesses int           `default:"512" help:"Living task processes, those that wait for children included."`
	MaxActions   int           `default:"2000000" help:"Unfinished actions that the plane holds."`
	MaxQPS       int           `default:"10000" help:"Enqueues a second that a parent task may make."`
	Grace        time.Duration `default:"10s" help:"Time between SIGTERM and SIGKILL when a task is stopped."`
	OrphanGrace  time.Duration `default:"5m" help:"How long tasks go on when the plane is gone."`
	LogBytes     int64         `default:"104857600" help:"Bytes of log kept of an attempt."`
	EndAttempts  bool          `help:"End running tasks when the plane stops; the next start makes them again. Default: they go on and are adopted."`
	Lifeline     bool          `help:"Stop when standard input ends, so that this process does not outlive the one that started it."`
	LogLevel     slog.Level    `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
}

type cli struct {
	Serve  options       `cmd:"" default:"withargs" help:"Run the data plane (the default)."`
	Enroll enrollCommand `cmd:"" help:"Make this machine a data plane of a control plane."`
}

func main() {
	var c cli
	parsed := kong.Parse(&c, kong.Name("biplane-data"), kong.Description("The data plane of Biplane."), kong.UsageOnError())
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "biplane-data:", err)
		os.Exit(1)
	}
}

// Run runs the data plane until it is told to stop.
func (o *options) Run() error {
	paceCollector()
	if err := o.useIdentity(); err != nil {
		return err
	}
	out, err := dial.New(dial.Environment(o.CAFile...))
	if err != nil {
		return err
	}
	var lifeline io.Reader
	if o.Lifeline {
		lifeline = os.Stdin
	}
	ctx, release := tether.Stopped(lifeline)
	defer release()
	if err := plane.CheckLoopback(o.Listen); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cpu := int64(o.CPU * 1000)
	if cpu <= 0 {
		cpu = int64(runtime.NumCPU()) * 1000
	}
	memory := o.Memory << 20
	if memory <= 0 {
		if memory, err = plane.MachineMemory(); err != nil {
			return err
		}
	}
	return plane.Run(ctx, plane.Config{
		State: o.State, Cache: o.Cache, Python: o.Python, Runner: filepath.Join(filepath.Dir(self), "biplane-runner"), Listen: o.Listen,
		Control: o.Control, TLS: o.TLS, Dial: out.Dial,
		Engine: engine.Config{
			CPUMillis: cpu, Memory: memory, DefaultCPUMillis: 1000, DefaultMemory: 256 << 20,
			MaxProcesses: o.MaxProcesses, MaxActions: o.MaxActions, SystemRetries: 3,
		},
		MaxQPS: o.MaxQPS, Grace: o.Grace, OrphanGrace: o.OrphanGrace, LogLimits: logs.Limits{Bytes: o.LogBytes}, EndAttempts: o.EndAttempts,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.LogLevel})),
	}, nil)
}
