// Biplane-control is the control plane: it knows names, states and pointers, and serves the link to the data planes and the
// operator's API.
package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"biplane.dev/biplane/internal/control/plane"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/tether"
)

type options struct {
	State       string     `required:"" type:"path" placeholder:"DIR" help:"Folder of the control plane's database; its addresses are written there."`
	Host        []string   `default:"localhost,127.0.0.1,::1" placeholder:"NAME" help:"Names and addresses under which planes reach this control plane, for its certificate. Default: those of loopback."`
	LinkListen  string     `default:"127.0.0.1:0" placeholder:"ADDR" help:"Where data planes connect. Default: a free loopback port."`
	AdminListen string     `default:"127.0.0.1:0" placeholder:"ADDR" help:"Where the operator's CLI connects; loopback only. Default: a free port."`
	LocalPlane  string     `placeholder:"NAME=DIR" help:"Enrol a data plane of this machine, whose identity is in DIR, without a token."`
	Lifeline    bool       `help:"Stop when standard input ends, so that this process does not outlive the one that started it."`
	LogLevel    slog.Level `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Name("biplane-control"), kong.Description("The control plane of Biplane."), kong.UsageOnError())
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "biplane-control:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	var lifeline io.Reader
	if o.Lifeline {
		lifeline = os.Stdin
	}
	ctx, release := tether.Stopped(lifeline)
	defer release()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.LogLevel}))
	var local plane.LocalPlane
	if o.LocalPlane != "" {
		var named bool
		if local.Name, local.Folder, named = strings.Cut(o.LocalPlane, "="); !named || local.Folder == "" {
			return fmt.Errorf("--local-plane must be NAME=DIR, got %q", o.LocalPlane)
		}
		if err := names.CheckLabel("local-plane", local.Name); err != nil {
			return err
		}
	}
	return plane.Run(ctx, plane.Config{State: o.State, Hosts: o.Host, LinkListen: o.LinkListen, AdminListen: o.AdminListen, LocalPlane: local, Log: log})
}
