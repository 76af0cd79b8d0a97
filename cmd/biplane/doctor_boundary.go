package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/boundary"
	"biplane.dev/biplane/internal/control/admin"
)

type boundaryCommand struct {
	Python   string        `default:"python3" placeholder:"PROGRAM" help:"Interpreter with the stock flyte SDK, as the client."`
	Config   string        `type:"path" placeholder:"FILE" help:"The client's config file. Default: the demo's."`
	Database []string      `type:"path" sep:"none" placeholder:"PATH" help:"Database files of the control plane. Default: the demo's."`
	Files    []string      `type:"path" sep:"none" placeholder:"PATH" help:"All its other files. Default: the demo's."`
	Log      []string      `type:"path" sep:"none" placeholder:"PATH" help:"Its logs and traces. Default: the demo's."`
	PID      []int         `name:"pid" placeholder:"N" help:"Its processes, for their memory. Default: the demo's."`
	Relay    []string      `type:"path" sep:"none" placeholder:"PATH" help:"Recordings of what its relay carried."`
	Link     []string      `type:"path" sep:"none" placeholder:"PATH" help:"Recordings of decoded messages of the link."`
	Data     []string      `type:"path" sep:"none" placeholder:"PATH" help:"Folders of the data plane, where every marker has to be. Default: the demo's, if it is here."`
	Timeout  time.Duration `default:"5m" help:"Of the program with markers."`
	JSON     bool          `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*boundaryCommand) Help() string {
	return `Runs a program that puts markers into everything a program can hold (code, inputs, outputs, variables, secrets, logs, errors,
reports, images, raw data and more), then looks for them in everything that the control plane has: its database, files, logs,
metrics and the memory of its processes, also in base64, hex, UTF-16, gzip and zstd. It must run where the control plane runs, as
its user or as root. It makes a project named boundary-… and archives it, and registers a plane of a random name and removes it.

The exit code is 0 only if nothing was found, and if the search has proved that it could have found it: a marker in a name must be
seen in the same places, and every other marker in the data plane, if that is here too.

Example: believe it

  biplane doctor boundary --python .venv/bin/python`
}

// errBreached is the error of a boundary that did not hold.
var errBreached = errors.New("the boundary is not shown to hold; see above")

func (c *boundaryCommand) Run(g *global) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	c.fill(g)
	if len(c.PID) == 0 {
		return fmt.Errorf("no process of the control plane was found; name it with --pid N")
	}
	say := g.Err
	probe := boundary.NewProbe()
	forget, err := c.addNamed(ctx, g, probe)
	if err != nil {
		return err
	}
	defer forget()
	fmt.Fprintln(say, "A program with markers runs through the SDK …")
	if err := probe.Run(ctx, c.Python, c.Config, progress{say}); err != nil {
		return err
	}
	fmt.Fprintln(say, "It is looked for in the control plane …")
	if err := c.awaitLedger(ctx, g, probe); err != nil {
		return err
	}
	metrics, err := c.metrics(ctx, g)
	if err != nil {
		return err
	}
	defer os.RemoveAll(metrics)
	report, err := probe.Look(c.targets(metrics), c.Data)
	if err != nil {
		return err
	}
	if err := c.print(g, report); err != nil {
		return err
	}
	if len(report.Problems) > 0 {
		return errBreached
	}
	return nil
}

// addNamed registers a plane whose name is the marker in names, so that it gets into what runs and projects are not named in: the
// log and the metrics. Nobody ever enrols as it.
func (c *boundaryCommand) addNamed(ctx context.Context, g *global, probe *boundary.Probe) (forget func(), err error) {
	client, err := controlPlane(g)
	if err != nil {
		return nil, err
	}
	const by = "biplane doctor boundary"
	if _, err := client.AddPlane(ctx, &adminv1.AddPlaneRequest{Name: string(probe.Name), By: by}); err != nil {
		return nil, err
	}
	return func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if _, err := client.RemovePlane(last, &adminv1.RemovePlaneRequest{Name: string(probe.Name), By: by}); err != nil {
			fmt.Fprintf(g.Err, "The plane %s was not removed: %v; do it with: biplane planes remove %s\n", probe.Name, err, probe.Name)
		}
	}, nil
}

// fill takes what was not said from the demo's state folder.
func (c *boundaryCommand) fill(g *global) {
	state := func(name string) string { return filepath.Join(g.State, name) }
	or := func(list *[]string, path string) {
		if len(*list) == 0 {
			*list = []string{path}
		}
	}
	if c.Config == "" {
		c.Config = state("flyte.yaml")
	}
	if len(c.Database) == 0 {
		c.Database, _ = filepath.Glob(state("control/*.db*"))
	}
	or(&c.Files, state("control"))
	or(&c.Log, state("logs/control.log"))
	if _, err := os.Stat(state("data")); err == nil { // on a machine of the control plane alone there is none
		or(&c.Data, state("data"))
	}
	if len(c.PID) == 0 {
		c.PID = boundary.Processes("biplane-control", state("control"))
	}
}

func (c *boundaryCommand) targets(metrics string) []boundary.Target {
	targets := []boundary.Target{
		{Kind: "database", Files: c.Database, Named: true},
		{Kind: "files", Files: c.Files, Named: true},
		{Kind: "log", Files: c.Log, Named: true},
		{Kind: "metrics", Files: []string{metrics}, Named: true},
		{Kind: "memory", PIDs: c.PID, Named: true},
	}
	if len(c.Relay) > 0 {
		targets = append(targets, boundary.Target{Kind: "relayed bytes", Files: c.Relay})
	}
	if len(c.Link) > 0 {
		targets = append(targets, boundary.Target{Kind: "link messages", Files: c.Link, Named: true})
	}
	return targets
}

// awaitLedger waits until the control plane has been told how the runs ended: what is not there yet would not be found.
func (c *boundaryCommand) awaitLedger(ctx context.Context, g *global, probe *boundary.Probe) error {
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	for _, name := range probe.Runs {
		for {
			answer, err := client.GetRun(ctx, &adminv1.GetRunRequest{Name: name, Project: probe.Project})
			if err == nil && answer.GetRun().GetPhase() >= linkv1.Phase_PHASE_SUCCEEDED && answer.GetRun().GetEnded() != nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the control plane was not told how the run %s ended: %w", name, errors.Join(err, ctx.Err()))
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// metrics stores what the control plane shows of itself in a file.
func (c *boundaryCommand) metrics(ctx context.Context, g *global) (path string, err error) {
	address, _, err := admin.Find(filepath.Join(g.State, "control"))
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("the control plane's metrics: %w", err)
	}
	defer answer.Body.Close()
	file, err := os.CreateTemp("", "boundary-metrics-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(file, answer.Body)
	return file.Name(), errors.Join(err, file.Close())
}

func (c *boundaryCommand) print(g *global, report *boundary.Report) error {
	if c.JSON {
		raw, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(g.Out, "%s\n", raw)
		return err
	}
	t := newTable("LOOKED AT", "SIZE", "CONTENT", "NAME")
	for _, l := range report.Looked {
		name := "not expected"
		switch {
		case l.Names > 0:
			name = fmt.Sprintf("found %d times", l.Names)
		case l.Named:
			name = "NOT FOUND"
		}
		content := "none"
		if l.Leaked > 0 {
			content = fmt.Sprintf("FOUND %d times", l.Leaked)
		}
		t.add(l.Kind, fmt.Sprintf("%.1f MiB", float64(l.Bytes)/(1<<20)), content, name)
	}
	if err := t.write(g.Out); err != nil {
		return err
	}
	if len(c.Data) == 0 {
		fmt.Fprintln(g.Out, "No data plane was searched, so it is not shown that the markers were anywhere; name its folder with --data PATH.")
	} else {
		fmt.Fprintf(g.Out, "%d markers were in the data plane, in %d kinds of content.\n", len(boundary.Places)-len(report.Missing), len(boundary.Places))
	}
	for _, problem := range report.Problems {
		fmt.Fprintln(g.Out, "PROBLEM:", problem)
	}
	if len(report.Problems) == 0 {
		fmt.Fprintln(g.Out, "The boundary held: none of them is in the control plane.")
	}
	return nil
}

// progress indents what the program says.
type progress struct{ to io.Writer }

func (p progress) Write(b []byte) (int, error) {
	if _, err := fmt.Fprintf(p.to, "  %s", b); err != nil {
		return 0, err
	}
	return len(b), nil
}
