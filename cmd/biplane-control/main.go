// Biplane-control is the control plane: it knows names, states and pointers, and serves the link to the data planes and the
// operator's API.
package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/alecthomas/kong"

	"biplane.dev/biplane/internal/control/plane"
	"biplane.dev/biplane/internal/tether"
)

type options struct {
	State       string     `required:"" type:"path" placeholder:"DIR" help:"Folder of the control plane's database; its addresses are written there."`
	TLS         string     `name:"tls" required:"" type:"path" placeholder:"DIR" help:"Folder with ca.crt, tls.crt and tls.key for the link."`
	LinkListen  string     `default:"127.0.0.1:0" placeholder:"ADDR" help:"Where data planes connect. Default: a free loopback port."`
	AdminListen string     `default:"127.0.0.1:0" placeholder:"ADDR" help:"Where the operator's CLI connects; loopback only. Default: a free port."`
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
	return plane.Run(ctx, plane.Config{State: o.State, TLS: o.TLS, LinkListen: o.LinkListen, AdminListen: o.AdminListen, Log: log})
}
