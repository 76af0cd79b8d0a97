// Biplane is the operator's command line: it runs a demo of both planes, and shows what the control plane knows.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"biplane.dev/biplane/internal/demo"
)

// global is what every command gets.
type global struct {
	State string
	Out   io.Writer
	Err   io.Writer
}

type cli struct {
	State string `type:"path" placeholder:"DIR" help:"State folder of the demo. Default: biplane below the user's data folder."`

	Demo   demoCommand    `cmd:"" help:"Run both planes on this machine, and a first program through them."`
	Runs   runsCommand    `cmd:"" help:"List runs, newest first."`
	Run    runCommand     `cmd:"" help:"Show a run and its actions."`
	Abort  abortCommand   `cmd:"" help:"Abort a run."`
	Planes planesCommands `cmd:"" help:"List, add and remove data planes."`
	Why    whyCommand     `cmd:"" help:"Say why a run, or one action of it, does not get on."`
	Doctor struct {
		Boundary boundaryCommand `cmd:"" help:"Show that nothing readable has got into the control plane."`
	} `cmd:"" help:"Look whether an installation is as it should be."`
}

func main() {
	var c cli
	parsed := kong.Parse(&c, kong.Name("biplane"), kong.Description("Flyte 2 programs on two planes."), kong.UsageOnError())
	g := &global{State: c.State, Out: os.Stdout, Err: os.Stderr}
	if g.State == "" && parsed.Command() != "demo" {
		state, err := demo.DefaultState()
		if err != nil {
			fail(err)
		}
		g.State = state
	}
	if err := parsed.Run(g); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "biplane:", err)
	os.Exit(1)
}
