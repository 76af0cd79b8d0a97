package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	"biplane.dev/biplane/gen/biplane/admin/v1/adminv1connect"
)

// drainPoll is how often the control plane is asked how far a drain is. The plane itself tells it with each heartbeat.
const drainPoll = 500 * time.Millisecond

type planesDrainCommand struct {
	Name   string `arg:"" help:"Name of the plane."`
	Undo   bool   `help:"Let the plane take new runs again."`
	NoWait bool   `name:"no-wait" help:"Order it and return, instead of following it to its end."`
	JSON   bool   `name:"json" help:"Print JSON: one object for each change."`
}

// Help is shown below the flags.
func (*planesDrainCommand) Help() string {
	return `The plane refuses new runs and goes on with those it has. The command returns when it has none; interrupted, the drain goes on, and
the same command follows it again.

Example: empty a plane before its machine is replaced, for an hour at most

  timeout 1h biplane planes drain eu-1 && biplane planes remove eu-1`
}

// Run orders a drain and follows it.
func (c *planesDrainCommand) Run(g *global) error {
	client, err := adminClient(g, adminv1connect.NewPlacementServiceClient)
	if err != nil {
		return err
	}
	answer, err := client.DrainPlane(context.Background(), &adminv1.DrainPlaneRequest{Name: c.Name, Undo: c.Undo, By: operator()})
	if err != nil {
		return err
	}
	status := answer.GetStatus()
	if err := c.show(g.Out, status); err != nil {
		return err
	}
	for !c.NoWait && !settled(status) {
		time.Sleep(drainPoll)
		answer, err := client.GetDrain(context.Background(), &adminv1.GetDrainRequest{Name: c.Name})
		if err != nil {
			return err
		}
		if proto.Equal(answer.GetStatus(), status) {
			continue
		}
		status = answer.GetStatus()
		if err := c.show(g.Out, status); err != nil {
			return err
		}
	}
	return nil
}

// settled says whether nothing is under way.
func settled(s *adminv1.DrainStatus) bool {
	return s.GetPhase() == adminv1.DrainPhase_DRAIN_PHASE_DONE || s.GetPhase() == adminv1.DrainPhase_DRAIN_PHASE_OPEN
}

func (c *planesDrainCommand) show(out io.Writer, status *adminv1.DrainStatus) error {
	if c.JSON {
		return writeJSON(out, status)
	}
	_, err := fmt.Fprintln(out, drainText(status))
	return err
}

func drainText(s *adminv1.DrainStatus) (text string) {
	switch s.GetPhase() {
	case adminv1.DrainPhase_DRAIN_PHASE_OPEN:
		text = "takes new runs"
	case adminv1.DrainPhase_DRAIN_PHASE_ORDERED:
		text = "is asked to take no new runs"
	case adminv1.DrainPhase_DRAIN_PHASE_DRAINING:
		text = fmt.Sprintf("takes no new runs; %d left, with %d attempts running", s.GetRunsLeft(), s.GetAttemptsRunning())
	case adminv1.DrainPhase_DRAIN_PHASE_DONE:
		text = "takes no new runs, and has none left"
	case adminv1.DrainPhase_DRAIN_PHASE_REOPENING:
		text = "is asked to take new runs again"
	default:
		text = "is in a state that this version does not know"
	}
	text = "Data plane " + s.GetPlane() + " " + text
	if s.GetNotReportingSince() != nil {
		text += "; it has not reported since " + timeText(s.GetNotReportingSince())
	}
	return text + "."
}
