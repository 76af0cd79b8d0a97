package gateway

import (
	"context"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/gen/flyteidl2/workflow/workflowconnect"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/fault"
)

// Runs is RunService: what a client calls about runs and their actions. CreateRun is in create.go, lists are in lists.go.
type Runs struct {
	workflowconnect.UnimplementedRunServiceHandler
	*Gateway
}

// CreateRun makes a run.
func (s Runs) CreateRun(ctx context.Context, request *workflow.CreateRunRequest) (*workflow.CreateRunResponse, error) {
	return s.Gateway.CreateRun(ctx, request)
}

// AbortRun stops every unfinished action of a run. A run that has ended stays as it is.
func (s Runs) AbortRun(ctx context.Context, request *workflow.AbortRunRequest) (*workflow.AbortRunResponse, error) {
	id, err := runID("run_id", request.GetRunId())
	if err != nil {
		return nil, err
	}
	if len(request.GetReason()) > maxReason {
		return nil, fault.Invalid("reason", "is %d bytes long; at most %d are allowed", len(request.GetReason()), maxReason)
	}
	_, err = s.Shell.Do(ctx, engine.AbortRun{Run: id, Reason: request.GetReason()}, nil)
	if fault.Is(err, fault.KindNotFound) {
		if _, lookup := s.Journal.Run(ctx, id); lookup != nil {
			return nil, lookup
		}
		return &workflow.AbortRunResponse{}, nil // it has ended: nothing to stop
	}
	return &workflow.AbortRunResponse{}, err
}

// AbortAction stops an action and everything below it.
func (s Runs) AbortAction(ctx context.Context, request *workflow.AbortActionRequest) (*workflow.AbortActionResponse, error) {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return nil, err
	}
	return &workflow.AbortActionResponse{}, s.abort(ctx, id, request.GetReason(), "")
}

// SignalEvent gives a condition its value.
func (s Runs) SignalEvent(ctx context.Context, request *workflow.SignalEventRequest) (*workflow.SignalEventResponse, error) {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return nil, err
	}
	value, err := payload(request.GetPayload())
	if err != nil {
		return nil, err
	}
	return &workflow.SignalEventResponse{}, s.signal(ctx, id, request.GetParentActionName(), value, "")
}

func payload(p *workflow.EventPayload) (*core.Literal, error) {
	primitive := &core.Primitive{}
	switch v := p.GetValue().(type) {
	case *workflow.EventPayload_BoolValue:
		primitive.Value = &core.Primitive_Boolean{Boolean: v.BoolValue}
	case *workflow.EventPayload_IntValue:
		primitive.Value = &core.Primitive_Integer{Integer: v.IntValue}
	case *workflow.EventPayload_FloatValue:
		primitive.Value = &core.Primitive_FloatValue{FloatValue: v.FloatValue}
	case *workflow.EventPayload_StringValue:
		primitive.Value = &core.Primitive_StringValue{StringValue: v.StringValue}
	default:
		return nil, fault.Invalid("payload", "is missing")
	}
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: primitive}}}}, nil
}

// GetRunDetails returns a run's settings and its root action.
func (s Runs) GetRunDetails(ctx context.Context, request *workflow.GetRunDetailsRequest) (*workflow.GetRunDetailsResponse, error) {
	id, err := runID("run_id", request.GetRunId())
	if err != nil {
		return nil, err
	}
	details, err := s.runDetails(ctx, id)
	return &workflow.GetRunDetailsResponse{Details: details}, err
}

// GetActionDetails returns everything about an action.
func (s Runs) GetActionDetails(ctx context.Context, request *workflow.GetActionDetailsRequest) (*workflow.GetActionDetailsResponse, error) {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return nil, err
	}
	run, err := s.Journal.Run(ctx, id.Run)
	if err != nil {
		return nil, err
	}
	details, _, err := s.details(ctx, run, id.Action)
	return &workflow.GetActionDetailsResponse{Details: details}, err
}

// WatchActionDetails sends an action's details now and after each change, and ends after the last one.
func (s Runs) WatchActionDetails(ctx context.Context, request *workflow.WatchActionDetailsRequest, stream *connect.ServerStream[workflow.WatchActionDetailsResponse]) error {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return err
	}
	run, err := s.Journal.Run(ctx, id.Run)
	if err != nil {
		return err
	}
	return s.follow(ctx, journal.Topic{Run: run.ID, Action: id.Action}, func() (bool, error) {
		details, row, err := s.details(ctx, run, id.Action)
		if err != nil {
			return true, err
		}
		return row.Phase.Terminal(), stream.Send(&workflow.WatchActionDetailsResponse{Details: details})
	})
}

// WatchRunDetails sends a run's details now and after each change of its root action, and ends after the last one.
func (s Runs) WatchRunDetails(ctx context.Context, request *workflow.WatchRunDetailsRequest, stream *connect.ServerStream[workflow.WatchRunDetailsResponse]) error {
	id, err := runID("run_id", request.GetRunId())
	if err != nil {
		return err
	}
	run, err := s.Journal.Run(ctx, id)
	if err != nil {
		return err
	}
	return s.follow(ctx, journal.Topic{Run: run.ID, Action: "a0"}, func() (bool, error) {
		details, err := s.runDetails(ctx, id)
		if err != nil {
			return true, err
		}
		ended := engine.Phase(details.GetAction().GetStatus().GetPhase()).Terminal()
		return ended, stream.Send(&workflow.WatchRunDetailsResponse{Details: details})
	})
}

// follow calls send now and after each change of the topic, until it says that this was the last.
func (g *Gateway) follow(ctx context.Context, topic journal.Topic, send func() (last bool, err error)) error {
	changed, leave := g.Journal.Watch(topic)
	defer leave()
	for {
		last, err := send()
		if err != nil || last {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
