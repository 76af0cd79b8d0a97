package projection

import (
	"fmt"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
)

// check refuses an event that does not say which row it is about, or speaks for another organisation than the plane's.
func check(plane link.Plane, event *linkv1.Event) error {
	var org string
	var key []string
	switch row := event.GetRow().(type) {
	case *linkv1.Event_Run:
		org, key = ofRun(row.Run.GetId())
	case *linkv1.Event_Action:
		org, key = ofAction(row.Action.GetId())
	case *linkv1.Event_Attempt:
		org, key = ofAction(row.Attempt.GetAction())
	case *linkv1.Event_Project:
		org, key = row.Project.GetOrg(), []string{row.Project.GetId()}
	case *linkv1.Event_Task:
		id := row.Task.GetId()
		org, key = id.GetOrg(), []string{id.GetProject(), id.GetDomain(), id.GetName()}
	case *linkv1.Event_Trigger:
		id := row.Trigger.GetId()
		org, key = id.GetOrg(), []string{id.GetProject(), id.GetDomain(), id.GetTask(), id.GetName()}
	default:
		return nil
	}
	if org != plane.Org {
		return fmt.Errorf("it is of organisation %q, the plane is of %q", org, plane.Org)
	}
	for _, part := range key {
		if part == "" {
			return fmt.Errorf("a part of its name is empty")
		}
	}
	return nil
}

func ofRun(id *linkv1.RunID) (string, []string) {
	return id.GetOrg(), []string{id.GetProject(), id.GetDomain(), id.GetName()}
}

func ofAction(id *linkv1.ActionID) (string, []string) {
	org, key := ofRun(id.GetRun())
	return org, append(key, id.GetName())
}
