package main

import (
	"context"
	"fmt"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
)

type planesCommands struct {
	List   planesCommand       `cmd:"" default:"withargs" help:"List the data planes and how they are (the default)."`
	Add    planesAddCommand    `cmd:"" help:"Register a data plane and print the one-time token with which it enrols."`
	Token  planesTokenCommand  `cmd:"" help:"Print a new token for a data plane that is registered."`
	Drain  planesDrainCommand  `cmd:"" help:"Let a data plane finish what it has and take no new runs."`
	Remove planesRemoveCommand `cmd:"" help:"Cut a data plane off and refuse its certificate."`
	Events planesEventsCommand `cmd:"" help:"Tell what happened to the identities of data planes, newest first."`
}

type planesCommand struct {
	Removed bool `help:"Show also those that were removed."`
	JSON    bool `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*planesCommand) Help() string {
	return `BEHIND is how many changes the control plane has not recorded yet. COMMANDS is how many orders the plane has not applied yet.

Example: is everything reporting?

  biplane planes --json | jq '.planes[] | select(.reporting | not)'`
}

// Run lists planes.
func (c *planesCommand) Run(g *global) error {
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	answer, err := client.ListPlanes(context.Background(), &adminv1.ListPlanesRequest{Removed: c.Removed})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(g.Out, answer)
	}
	if len(answer.GetPlanes()) == 0 {
		_, err := fmt.Fprintln(g.Out, "There is no data plane yet; biplane planes add NAME makes one.")
		return err
	}
	t := newTable("PLANE", "POOL", "STATE", "IDENTITY", "CORES", "MEMORY", "RUNS", "RUNNING", "QUEUED", "BEHIND", "COMMANDS", "VERSION")
	for _, p := range answer.GetPlanes() {
		t.add(p.GetName(), p.GetPool(), stateCell(p), identityCell(p),
			fmt.Sprintf("%.3g of %.3g", float64(p.GetCpuMillisUsed())/1000, float64(p.GetCpuMillis())/1000),
			fmt.Sprintf("%.1f of %.1f GiB", gib(p.GetMemoryBytesUsed()), gib(p.GetMemoryBytes())),
			p.GetRunsActive(), p.GetAttemptsRunning(), p.GetActionsQueued(), p.GetBehind(), p.GetCommandsPending(), p.GetVersion())
	}
	return t.write(g.Out)
}

func stateCell(p *adminv1.Plane) cell {
	if p.GetReporting() {
		return cell{"reporting since " + timeText(p.GetSince()), green}
	}
	if p.GetSince() == nil {
		return cell{"has not reported yet", yellow}
	}
	return cell{"not reporting since " + timeText(p.GetSince()), yellow}
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }
