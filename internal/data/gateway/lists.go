package gateway

import (
	"context"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// ListRuns returns a page of runs.
func (s Runs) ListRuns(ctx context.Context, request *workflow.ListRunsRequest) (*workflow.ListRunsResponse, error) {
	scope, err := runScope(request)
	if err != nil {
		return nil, err
	}
	scope.PausedOnly = request.GetPausedActionsOnly()
	runs, token, err := s.Journal.ListRuns(ctx, scope, request.GetRequest())
	if err != nil {
		return nil, err
	}
	response := &workflow.ListRunsResponse{Token: token}
	for _, run := range runs {
		message, err := s.runMessage(ctx, run)
		if err != nil {
			return nil, err
		}
		response.Runs = append(response.Runs, message)
	}
	return response, nil
}

func runScope(request *workflow.ListRunsRequest) (scope journal.RunScope, err error) {
	switch by := request.GetScopeBy().(type) {
	case *workflow.ListRunsRequest_ProjectId:
		scope.Project, err = projectID(by.ProjectId)
	case *workflow.ListRunsRequest_TaskId:
		var id names.Task
		id, err = taskID("task_id", by.TaskId)
		scope.Project, scope.Task, scope.Version = id.Project, id.Name, id.Version
	case *workflow.ListRunsRequest_TaskName:
		var id names.Task
		id, err = taskID("task_name", &task.TaskIdentifier{Project: by.TaskName.GetProject(), Domain: by.TaskName.GetDomain(), Name: by.TaskName.GetName()})
		scope.Project, scope.Task = id.Project, id.Name
	case *workflow.ListRunsRequest_TriggerName:
		scope.Project, err = names.NewProject(by.TriggerName.GetProject(), by.TriggerName.GetDomain())
		if err == nil {
			err = names.Check("trigger_name.task_name", by.TriggerName.GetTaskName())
		}
		if err == nil {
			err = names.Check("trigger_name.name", by.TriggerName.GetName())
		}
		scope.TriggerTask, scope.Trigger = by.TriggerName.GetTaskName(), by.TriggerName.GetName()
	}
	return scope, err
}

// ListActions returns a page of a run's actions.
func (s Runs) ListActions(ctx context.Context, request *workflow.ListActionsRequest) (*workflow.ListActionsResponse, error) {
	id, err := runID("run_id", request.GetRunId())
	if err != nil {
		return nil, err
	}
	run, err := s.Journal.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	rows, token, err := s.Journal.ListActions(ctx, run.ID, request.GetRequest())
	if err != nil {
		return nil, err
	}
	response := &workflow.ListActionsResponse{Token: token}
	for _, row := range rows {
		message, err := s.actionMessage(ctx, run, row)
		if err != nil {
			return nil, err
		}
		response.Actions = append(response.Actions, message)
	}
	return response, nil
}

// WatchRuns sends the runs in scope that change from now on.
func (s Runs) WatchRuns(ctx context.Context, request *workflow.WatchRunsRequest, stream *connect.ServerStream[workflow.WatchRunsResponse]) error {
	var scope journal.RunScope
	var err error
	switch by := request.GetTarget().(type) {
	case *workflow.WatchRunsRequest_ProjectId:
		scope.Project, err = projectID(by.ProjectId)
	case *workflow.WatchRunsRequest_TaskId:
		var id names.Task
		id, err = taskID("task_id", by.TaskId)
		scope.Project, scope.Task, scope.Version = id.Project, id.Name, id.Version
	case *workflow.WatchRunsRequest_ClusterId:
		err = fault.Invalid("cluster_id", "is not served; watch a project or an organisation")
	}
	if err != nil {
		return err
	}
	seq := s.Journal.Seq()
	return s.follow(ctx, journal.Topic{}, func() (bool, error) {
		for {
			runs, err := s.Journal.RunsAfter(ctx, scope, seq, pageOfUpdates)
			if err != nil || len(runs) == 0 {
				return false, err
			}
			response := &workflow.WatchRunsResponse{}
			for _, run := range runs {
				message, err := s.runMessage(ctx, run)
				if err != nil {
					return true, err
				}
				response.Runs = append(response.Runs, message)
				seq = run.Seq
			}
			if err := stream.Send(response); err != nil {
				return true, err
			}
		}
	})
}

// WatchActions sends every action of a run, then each change, until the whole run has ended.
func (s Runs) WatchActions(ctx context.Context, request *workflow.WatchActionsRequest, stream *connect.ServerStream[workflow.WatchActionsResponse]) error {
	id, err := runID("run_id", request.GetRunId())
	if err != nil {
		return err
	}
	if len(request.GetFilter()) > 0 {
		return fault.Invalid("filter", "is not served; filter what arrives")
	}
	run, err := s.Journal.Run(ctx, id)
	if err != nil {
		return err
	}
	seq := int64(0)
	return s.follow(ctx, journal.Topic{}, func() (bool, error) {
		ended, err := s.Journal.Ended(ctx, run.ID)
		if err != nil {
			return true, err
		}
		for {
			rows, err := s.Journal.ActionsAfter(ctx, run.ID, seq, pageOfUpdates)
			if err != nil || len(rows) == 0 {
				return ended, err
			}
			response := &workflow.WatchActionsResponse{}
			for _, row := range rows {
				message, err := s.actionMessage(ctx, run, row)
				if err != nil {
					return true, err
				}
				response.EnrichedActions = append(response.EnrichedActions, &workflow.EnrichedAction{Action: message, MeetsFilter: true})
				seq = row.Seq
			}
			if err := stream.Send(response); err != nil {
				return true, err
			}
		}
	})
}

func (g *Gateway) runDetails(ctx context.Context, id names.Run) (*workflow.RunDetails, error) {
	run, err := g.Journal.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	spec, err := g.runSpec(ctx, id)
	if err != nil {
		return nil, err
	}
	details, _, err := g.details(ctx, run, names.Root)
	return &workflow.RunDetails{RunSpec: spec, Action: details}, err
}
