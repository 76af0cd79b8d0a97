package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	planev1 "biplane.dev/biplane/gen/biplane/plane/v1"
	"biplane.dev/biplane/gen/biplane/plane/v1/planev1connect"
)

type whyCommand struct {
	RunName string `arg:"" name:"run" help:"Name of the run."`
	Action  string `arg:"" optional:"" help:"Name of one action."`
	Project string `placeholder:"PROJECT" help:"Its project, when the name is not unique."`
	Domain  string `placeholder:"DOMAIN" help:"Its domain, when the name is not unique."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*whyCommand) Help() string {
	return `Each action that does not run has one dominant reason, and a next step.

Example: why does my run not get on?

  biplane why r4ttz8`
}

// Run asks the data plane itself, which alone knows its slots.
func (c *whyCommand) Run(g *global) error {
	raw, err := os.ReadFile(filepath.Join(g.State, "data", "gateway.addr"))
	if err != nil {
		return fmt.Errorf("no data plane runs on %s; start one with: biplane demo", g.State)
	}
	client := planev1connect.NewPlaneServiceClient(http.DefaultClient, "http://"+strings.TrimSpace(string(raw)))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	answer, err := client.Explain(ctx, &planev1.ExplainRequest{Project: c.Project, Domain: c.Domain, Run: c.RunName, Action: c.Action})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(g.Out, answer)
	}
	if len(answer.GetActions()) == 0 {
		fmt.Fprintf(g.Out, "run %s has ended: %s\n", c.RunName, strings.ToLower(answer.GetRunPhase()))
		return nil
	}
	table := tabwriter.NewWriter(g.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ACTION\tTASK\tPHASE\tCODE\tREASON\tNEXT")
	for _, a := range answer.GetActions() {
		reason := a.GetReason()
		if a.GetCode() == "NONE" && reason == "" {
			reason = "it runs"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", a.GetAction(), a.GetTask(), strings.ToLower(a.GetPhase()), a.GetCode(), reason, a.GetNext())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if answer.GetMore() > 0 {
		fmt.Fprintf(g.Out, "and %d more\n", answer.GetMore())
	}
	return nil
}
