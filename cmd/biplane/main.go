// Biplane is the operator's command.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/alecthomas/kong"
)

// global is what every command gets.
type global struct {
	State string // folder with the planes' states
	Out   io.Writer
	Err   io.Writer
}

type cli struct {
	State string `type:"path" default:"${state}" placeholder:"DIR" help:"Folder with the state of both planes. Default: ${state}."`

	Runs   runsCommand   `cmd:"" help:"List runs, newest first."`
	Run    runCommand    `cmd:"" help:"Show one run and its actions."`
	Abort  abortCommand  `cmd:"" help:"Abort a run."`
	Planes planesCommand `cmd:"" help:"List data planes and how they feel."`
}

func main() {
	var c cli
	command := kong.Parse(&c, kong.Name("biplane"), kong.Description("Biplane runs Flyte 2 programs on a platform split into two planes."),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Vars{"state": defaultState()})
	if err := command.Run(&global{State: c.State, Out: os.Stdout, Err: os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, "biplane:", err)
		os.Exit(1)
	}
}

// defaultState is the user's data folder.
func defaultState() string {
	if folder := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(folder) {
		return filepath.Join(folder, "biplane")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "biplane"
	}
	return filepath.Join(home, ".local", "share", "biplane")
}
