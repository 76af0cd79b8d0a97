package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link/dial"
	"biplane.dev/biplane/internal/link/enrol"
)

// identityFolder of the state folder is where enrolment puts the plane's identity, unless told otherwise.
const identityFolder = "tls"

// maxToken bounds what is read of a token's file.
const maxToken = 4096

type enrollCommand struct {
	State     string   `type:"path" placeholder:"DIR" help:"The plane's state folder; the identity goes to its folder tls."`
	TLS       string   `name:"tls" type:"path" placeholder:"DIR" help:"Folder for the identity, in place of the one in the state folder."`
	Control   string   `required:"" placeholder:"HOST:PORT" help:"Where the control plane is reached."`
	CAFile    []string `name:"ca-file" type:"existingfile" placeholder:"FILE" help:"Certificates to trust, beside the system's, when the proxy that HTTPS_PROXY names is reached over TLS."`
	TokenFile string   `type:"path" placeholder:"FILE" help:"File that holds the token. Default: the variable BIPLANE_ENROL_TOKEN, or else standard input."`
}

// Help is shown below the flags.
func (enrollCommand) Help() string {
	return `Makes the plane's key, which never leaves this machine, and has the control plane sign it for a one-time token (biplane planes add NAME
prints one). After that, biplane-data --state DIR knows the control plane and renews its certificate by itself.

A token is never given as an argument: other users of the machine could read it there.

Example:

  biplane-data enroll --state /var/lib/biplane --control control.example.com:443 --token-file token`
}

// Run enrols this plane.
func (c *enrollCommand) Run() error {
	folder := c.TLS
	switch {
	case folder == "" && c.State == "":
		return fault.Invalid("state", "is missing: name the plane's state folder with --state DIR, or a folder for the identity with --tls DIR")
	case folder == "":
		folder = filepath.Join(c.State, identityFolder)
	}
	text, err := c.token(os.Getenv, os.Stdin)
	if err != nil {
		return err
	}
	token, err := enrol.ParseToken(text)
	if err != nil {
		return err
	}
	out, err := dial.New(dial.Environment(c.CAFile...))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	plane, err := enrol.Enroll(ctx, enrol.Contact{Address: c.Control, Dial: out.Dial}, token, folder)
	if err != nil {
		return err
	}
	fmt.Printf("This is data plane %s now, in pool %s. Its certificate is in %s, valid until %s, and renewed by the running plane.\n",
		plane.Plane, plane.Pool, folder, plane.Expires.Local().Format(time.DateTime))
	if len(plane.FrontDoors) > 0 {
		fmt.Printf("Clients reach it at %s.\n", strings.Join(plane.FrontDoors, ", "))
	}
	return nil
}

// token reads the token from the first place that has one.
func (c *enrollCommand) token(environment func(string) string, input io.Reader) (string, error) {
	if c.TokenFile != "" {
		file, err := os.Open(c.TokenFile)
		if err != nil {
			return "", fault.Invalid("token-file", "cannot be read: %v", err)
		}
		defer file.Close()
		input = file
	} else if text := environment("BIPLANE_ENROL_TOKEN"); text != "" {
		return text, nil
	}
	text, err := io.ReadAll(io.LimitReader(input, maxToken))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return string(text), nil
}

// useIdentity fills in what enrolment has left in the state folder, where flags do not say otherwise.
func (o *options) useIdentity() error {
	folder := o.TLS
	if folder == "" {
		folder = filepath.Join(o.State, identityFolder)
	}
	address := filepath.Join(folder, enrol.AddressFile)
	if _, err := os.Stat(address); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("the plane's identity: %w", err)
	}
	o.TLS = folder
	if o.Control == "" {
		o.Control = address
	}
	return nil
}
