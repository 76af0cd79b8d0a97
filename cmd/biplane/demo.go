package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/term"

	"biplane.dev/biplane/internal/demo"
)

type demoCommand struct {
	Ephemeral bool     `help:"Keep the state in a temporary folder and remove it at the end."`
	Port      int      `default:"8090" help:"Loopback port of the data plane; 0 is any free one."`
	Serve     bool     `help:"Start and stay, without a first program; print 'ready' when work is accepted."`
	Cache     string   `type:"path" placeholder:"DIR" help:"Folder of Python environments, shared by demos. Default: the user's cache folder."`
	Plane     []string `sep:"none" placeholder:"FLAG" help:"One more flag for biplane-data, such as --plane=--cpu=4."`
}

// Help is shown below the flags.
func (demoCommand) Help() string {
	return `Examples:
  biplane demo                          stay until Ctrl-C
  biplane demo --ephemeral --port 0     leave nothing behind
  biplane demo --serve --state ./state  for scripts and tests`
}

func (c *demoCommand) Run(g *global) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return err
	}
	return demo.Run(ctx, demo.Options{
		State: g.State, Ephemeral: c.Ephemeral, Port: c.Port, Serve: c.Serve, Programs: filepath.Dir(self), Cache: c.Cache,
		Terminal: term.IsTerminal(int(os.Stdout.Fd())), Out: g.Out, Err: g.Err, PlaneArgs: c.Plane,
	})
}
