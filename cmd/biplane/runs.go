package main

import (
	"context"
	"fmt"
	"strings"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
)

// pageSize is how many rows are asked for at a time.
const pageSize = 500

type runsCommand struct {
	Project string   `placeholder:"PROJECT" help:"Only of this project."`
	Domain  string   `placeholder:"DOMAIN" help:"Only of this domain."`
	Phase   []string `placeholder:"PHASE" help:"Only in these phases (running, succeeded, failed, …)."`
	Limit   int      `default:"50" placeholder:"N" help:"At most so many. Default: 50."`
	JSON    bool     `name:"json" help:"Print JSON."`
}

// Help is shown below the flags.
func (*runsCommand) Help() string {
	return `Example: the last ten runs that failed in one project

  biplane runs --project flytesnacks --domain development --phase failed --limit 10`
}

// Run lists runs.
func (c *runsCommand) Run(g *global) error {
	if c.Limit < 1 {
		return fmt.Errorf("--limit must be at least 1, got %d", c.Limit)
	}
	phases, err := parsePhases(c.Phase)
	if err != nil {
		return err
	}
	client, err := controlPlane(g)
	if err != nil {
		return err
	}
	all := &adminv1.ListRunsResponse{}
	request := &adminv1.ListRunsRequest{Project: c.Project, Domain: c.Domain, Phases: phases}
	for {
		request.Limit = int32(min(pageSize, c.Limit-len(all.GetRuns())))
		page, err := client.ListRuns(context.Background(), request)
		if err != nil {
			return err
		}
		all.Runs = append(all.Runs, page.GetRuns()...)
		all.NextPageToken, request.PageToken = page.GetNextPageToken(), page.GetNextPageToken()
		if request.PageToken == "" || len(all.GetRuns()) >= c.Limit {
			break
		}
	}
	if c.JSON {
		return writeJSON(g.Out, all)
	}
	if len(all.GetRuns()) == 0 {
		_, err := fmt.Fprintln(g.Out, "No runs.")
		return err
	}
	t := newTable("RUN", "PROJECT", "DOMAIN", "TASK", "PHASE", "CREATED", "TOOK", "ERROR")
	for _, run := range all.GetRuns() {
		t.add(run.GetName(), run.GetProject(), run.GetDomain(), run.GetTask(), phaseCell(run.GetPhase(), run.GetNotReportingSince()),
			timeText(run.GetCreated()), duration(run.GetStarted(), run.GetEnded()), cell{run.GetErrorCode(), red})
	}
	if err := t.write(g.Out); err != nil {
		return err
	}
	if all.GetNextPageToken() != "" {
		fmt.Fprintf(g.Err, "There are more; see them with --limit %d.\n", c.Limit*10)
	}
	return nil
}

func parsePhases(words []string) ([]linkv1.Phase, error) {
	var phases []linkv1.Phase
	for _, word := range words {
		name := "PHASE_" + strings.ToUpper(strings.NewReplacer("-", "_", " ", "_").Replace(word))
		value, ok := linkv1.Phase_value[name]
		if !ok || value == 0 {
			var known []string
			for number := int32(1); int(number) < len(linkv1.Phase_name); number++ {
				known = append(known, strings.ReplaceAll(enumText(linkv1.Phase_name[number], "PHASE_"), " ", "-"))
			}
			return nil, fmt.Errorf("--phase %q is no phase; there are: %s", word, strings.Join(known, ", "))
		}
		phases = append(phases, linkv1.Phase(value))
	}
	return phases, nil
}
