package main

import (
	"context"
	"fmt"
	"strings"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
)

// which names one run. Project, domain and plane are needed only when the name exists more than once.
type which struct {
	Name    string `arg:"" placeholder:"RUN" help:"Name of the run."`
	Project string `placeholder:"PROJECT" help:"Its project, when the name is not unique."`
	Domain  string `placeholder:"DOMAIN" help:"Its domain, when the name is not unique."`
	Plane   string `placeholder:"PLANE" help:"Its data plane, when the name is not unique."`
}

type runCommand struct {
	which
	Limit int  `default:"100" placeholder:"N" help:"Show at most so many actions. Default: 100."`
	JSON  bool `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*runCommand) Help() string {
	return `What is shown are names, states and places of data. Inputs, outputs, logs and error texts are in the data plane: see them
with the flyte client.

Example: a run with its first thousand actions, for a script

  biplane run r4ttz8 --limit 1000 --json`
}

// Run shows one run.
func (c *runCommand) Run(g *global) error {
	if c.Limit < 1 {
		return fmt.Errorf("--limit must be at least 1, got %d", c.Limit)
	}
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	request := &adminv1.GetRunRequest{Name: c.Name, Project: c.Project, Domain: c.Domain, Plane: c.Plane}
	all := &adminv1.GetRunResponse{}
	for {
		request.Limit = int32(min(pageSize, c.Limit-len(all.GetActions())))
		page, err := client.GetRun(context.Background(), request)
		if err != nil {
			return err
		}
		page.Actions = append(all.GetActions(), page.GetActions()...)
		all, request.PageToken = page, page.GetNextPageToken()
		if request.PageToken == "" || len(all.GetActions()) >= c.Limit {
			break
		}
	}
	if c.JSON {
		return writeJSON(g.Out, all)
	}
	if err := writeRun(g, all); err != nil {
		return err
	}
	if all.GetNextPageToken() != "" {
		fmt.Fprintf(g.Err, "There are more actions; see them with --limit %d.\n", c.Limit*10)
	}
	return nil
}

func writeRun(g *global, all *adminv1.GetRunResponse) error {
	run := all.GetRun()
	head := &table{}
	line := func(title string, value cell) {
		if value.text != "" {
			head.add(cell{title, bold}, value)
		}
	}
	line("Run", cell{text: run.GetName()})
	line("Project", cell{text: run.GetProject() + ", " + run.GetDomain()})
	line("Task", cell{text: withVersion(run.GetTask(), run.GetTaskVersion())})
	line("Plane", cell{text: run.GetPlane()})
	line("Phase", phaseCell(run.GetPhase(), run.GetNotReportingSince()))
	line("Error", cell{strings.TrimSpace(run.GetErrorCode() + " " + exitText(run)), red})
	line("Created", cell{text: timeText(run.GetCreated()) + by(run.GetCreatedBy())})
	line("Took", cell{text: duration(run.GetStarted(), run.GetEnded())})
	if run.GetAbortedBy() != "" {
		line("Aborted", cell{text: strings.TrimSpace(by(run.GetAbortedBy()))})
	}
	line("Source", cell{text: enumText(run.GetSource().String(), "RUN_SOURCE_")})
	line("Trigger", cell{text: run.GetTrigger()})
	if run.GetRelatedTo() != "" {
		line("Relation", cell{text: enumText(run.GetRelation().String(), "RELATION_") + " of " + run.GetRelatedTo()})
	}
	line("Actions", cell{text: countsText(all.GetCounts())})
	if err := head.write(g.Out); err != nil {
		return err
	}
	if len(all.GetActions()) == 0 {
		return nil
	}
	fmt.Fprintln(g.Out)
	t := newTable("ACTION", "PARENT", "NAME", "PHASE", "ATTEMPT", "STARTED", "TOOK", "CACHE", "REASON")
	for _, a := range all.GetActions() {
		why := cell{a.GetErrorCode(), red}
		if why.text == "" {
			why = cell{enumText(a.GetReason().String(), "REASON_"), grey}
		}
		t.add(a.GetName(), a.GetParent(), a.GetShortName(), phaseCell(a.GetPhase(), nil), a.GetAttempt(), timeText(a.GetStarted()),
			duration(a.GetStarted(), a.GetEnded()), enumText(a.GetCacheStatus().String(), "CACHE_STATUS_"), why)
	}
	return t.write(g.Out)
}

func withVersion(name, version string) string {
	if version == "" {
		return name
	}
	return name + " (version " + version + ")"
}

func exitText(run *adminv1.Run) string {
	if class := enumText(run.GetExitClass().String(), "EXIT_CLASS_"); class != "" {
		return "(" + class + " error)"
	}
	return ""
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

func countsText(counts []*adminv1.PhaseCount) string {
	total := int64(0)
	var parts []string
	for _, count := range counts {
		total += count.GetCount()
		parts = append(parts, fmt.Sprint(count.GetCount(), " ", enumText(count.GetPhase().String(), "PHASE_")))
	}
	if total == 0 {
		return ""
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}
