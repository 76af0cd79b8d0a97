package main

import (
	"context"
	"fmt"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
)

type abortCommand struct {
	which
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*abortCommand) Help() string {
	return `The order is kept until the run's data plane has applied it, also when that plane is away now.

Example:

  biplane abort r4ttz8`
}

// Run aborts a run.
func (c *abortCommand) Run(g *global) error {
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	answer, err := client.AbortRun(context.Background(), &adminv1.AbortRunRequest{Name: c.Name, Project: c.Project, Domain: c.Domain, Plane: c.Plane, By: operator()})
	if err != nil {
		return err
	}
	run := answer.GetRun()
	switch {
	case c.JSON:
		return writeJSON(g.Out, answer)
	case answer.GetCommand() == 0:
		_, err = fmt.Fprintf(g.Out, "Run %s has ended already: %s.\n", run.GetName(), phaseCell(run.GetPhase(), nil).text)
	case run.GetNotReportingSince() != nil:
		_, err = fmt.Fprintf(g.Out, "Run %s will be aborted when data plane %s is back; it is not reporting since %s.\n", run.GetName(), run.GetPlane(), timeText(run.GetNotReportingSince()))
	default:
		_, err = fmt.Fprintf(g.Out, "Run %s is being aborted.\n", run.GetName())
	}
	return err
}
