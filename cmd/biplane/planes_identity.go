package main

import (
	"context"
	"fmt"
	"os/user"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
)

type planesAddCommand struct {
	Name      string        `arg:"" help:"Name of the plane: lower-case letters, digits and '-'."`
	Pool      string        `placeholder:"POOL" help:"Pool that the plane belongs to. Default: 'default'."`
	FrontDoor []string      `name:"front-door" placeholder:"NAME" help:"Host name at which clients reach this plane. May be repeated."`
	Life      time.Duration `default:"1h" help:"How long the token may be used."`
	JSON      bool          `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*planesAddCommand) Help() string {
	return `The token is shown once. It is good for one enrolment, and holds the fingerprint of this control plane's authority, so that
the plane knows whom it talks to.

Example: on the machine of the plane, with the token on standard input,

  biplane-data enroll --state DIR --control HOST:PORT`
}

// Run registers a plane.
func (c *planesAddCommand) Run(g *global) error {
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	answer, err := client.AddPlane(context.Background(), &adminv1.AddPlaneRequest{
		Name: c.Name, Pool: c.Pool, FrontDoors: c.FrontDoor, TokenLife: durationpb.New(c.Life), By: operator(),
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(g.Out, answer)
	}
	// The token alone on standard output, so that it can be piped to where it is used.
	fmt.Fprintf(g.Err, "Data plane %s is registered in pool %s. Its token, good once and until %s:\n", answer.GetPlane().GetName(), answer.GetPlane().GetPool(), timeText(answer.GetTokenExpires()))
	_, err = fmt.Fprintln(g.Out, answer.GetToken())
	return err
}

type planesTokenCommand struct {
	Name string        `arg:"" help:"Name of the plane."`
	Life time.Duration `default:"1h" help:"How long the token may be used."`
	JSON bool          `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*planesTokenCommand) Help() string {
	return `For a plane whose certificate has expired, whose machine is new, or whose identity was copied. Tokens that were not used are
withdrawn. When the new one is used, every earlier certificate of the plane is refused.

Example:

  biplane planes token eu-1 | ssh eu-1 biplane-data enroll --state /var/lib/biplane --control control.example.com:443`
}

// Run makes a token.
func (c *planesTokenCommand) Run(g *global) error {
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	answer, err := client.InvitePlane(context.Background(), &adminv1.InvitePlaneRequest{Name: c.Name, TokenLife: durationpb.New(c.Life), By: operator()})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(g.Out, answer)
	}
	fmt.Fprintf(g.Err, "A token for data plane %s, good once and until %s:\n", c.Name, timeText(answer.GetTokenExpires()))
	_, err = fmt.Fprintln(g.Out, answer.GetToken())
	return err
}

type planesRemoveCommand struct {
	Name string `arg:"" help:"Name of the plane."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*planesRemoveCommand) Help() string {
	return `Its sessions end at once, and its certificate and tokens are refused. What it reported stays. Work that runs there goes on, since
nobody can tell the plane to stop it: abort its runs first.

Example:

  biplane planes remove eu-1`
}

// Run removes a plane.
func (c *planesRemoveCommand) Run(g *global) error {
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	answer, err := client.RemovePlane(context.Background(), &adminv1.RemovePlaneRequest{Name: c.Name, By: operator()})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(g.Out, answer)
	}
	_, err = fmt.Fprintf(g.Out, "Data plane %s is removed.\n", c.Name)
	return err
}

type planesEventsCommand struct {
	Name  string `arg:"" optional:"" help:"Name of a plane. Default: all."`
	Limit int32  `default:"100" help:"At most so many, up to 1,000."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*planesEventsCommand) Help() string {
	return `Who added, enrolled, renewed and removed planes, from where, and what was refused: tokens used twice or too late, certificates
that are out of date, identities that live at two places.

Example: has anything been refused?

  biplane planes events --json | jq '.events[] | select(.event | test("copied|token|earlier"))'`
}

// Run tells events.
func (c *planesEventsCommand) Run(g *global) error {
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	answer, err := client.ListIdentityEvents(context.Background(), &adminv1.ListIdentityEventsRequest{Plane: c.Name, Limit: c.Limit})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(g.Out, answer)
	}
	if len(answer.GetEvents()) == 0 {
		_, err := fmt.Fprintln(g.Out, "Nothing has happened yet.")
		return err
	}
	t := newTable("TIME", "PLANE", "EVENT", "BY", "DETAIL")
	for _, e := range answer.GetEvents() {
		t.add(timeText(e.GetAt()), e.GetPlane(), e.GetEvent(), e.GetBy(), e.GetDetail())
	}
	return t.write(g.Out)
}

// identityCell says how a plane's enrolment is.
func identityCell(p *adminv1.Plane) cell {
	switch p.GetEnrolment() {
	case adminv1.Enrolment_ENROLMENT_INVITED:
		return cell{"token until " + timeText(p.GetExpires()), yellow}
	case adminv1.Enrolment_ENROLMENT_LAPSED:
		return cell{"token expired " + timeText(p.GetExpires()), red}
	case adminv1.Enrolment_ENROLMENT_EXPIRED:
		return cell{"expired " + timeText(p.GetExpires()), red}
	case adminv1.Enrolment_ENROLMENT_REMOVED:
		return cell{"removed", grey}
	case adminv1.Enrolment_ENROLMENT_ENROLLED:
		if p.GetCopied() != nil {
			return cell{"COPIED, seen " + timeText(p.GetCopied()), red}
		}
		return cell{"until " + timeText(p.GetExpires()), ""}
	default:
		return cell{"not enrolled", grey}
	}
}

// operator is the name under which what is done here is recorded.
func operator() string {
	if me, err := user.Current(); err == nil && me.Username != "" {
		return me.Username
	}
	return "operator"
}
