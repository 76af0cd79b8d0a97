package gateway

import (
	"context"
	"net/url"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/actions/actionsconnect"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/data/launch"
	"biplane.dev/biplane/internal/data/taskspec"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Actions is ActionsService: what the code of a running task calls.
type Actions struct {
	actionsconnect.UnimplementedActionsServiceHandler
	*Gateway
}

// Enqueue makes a child of the action whose code calls. It is idempotent by name.
func (s Actions) Enqueue(ctx context.Context, request *actions.EnqueueRequest) (*actions.EnqueueResponse, error) {
	a := request.GetAction()
	id, err := actionID("action.action_id", a.GetActionId())
	if err != nil {
		return nil, err
	}
	if err := names.Check("action.parent_action_name", a.GetParentActionName()); err != nil {
		return nil, err
	}
	if id.Action == names.Root {
		return nil, fault.Invalid("action.action_id.name", "%q is the name of the run's root", names.Root)
	}
	spec := engine.ActionSpec{
		Name: id.Action, Parent: a.GetParentActionName(), Group: a.GetGroup(), InputURI: a.GetInputUri(), OutputBase: a.GetRunOutputBase(),
	}
	if len(spec.Group) > maxGroup {
		return nil, fault.Invalid("action.group", "is %d bytes long; at most %d are allowed", len(spec.Group), maxGroup)
	}
	own, err := s.scopeOf(ctx, id.Run)
	if err != nil {
		return nil, err
	}
	if err := checkPlaces(&spec, own.base); err != nil {
		return nil, err
	}
	specs := journal.Specs{}
	switch kind := a.GetSpec().(type) {
	case *actions.Action_Task:
		err = s.taskAction(ctx, id, own, &spec, kind.Task, specs)
	case *actions.Action_Trace:
		err = s.traceAction(ctx, &spec, own, kind.Trace)
	case *actions.Action_Condition:
		err = conditionAction(&spec, kind.Condition)
	default:
		err = fault.Invalid("action.spec", "is missing: give task, trace or condition")
	}
	if err != nil {
		return nil, err
	}
	reply, err := s.Shell.Do(ctx, engine.Enqueue{Run: id.Run, Spec: spec}, specs)
	if err != nil {
		return nil, s.runGone(ctx, id.Run, err)
	}
	if reply.Existed {
		return nil, fault.New(fault.KindExists, "action %q exists already in run %q", id.Action, id.Name)
	}
	return &actions.EnqueueResponse{}, nil
}

const maxGroup = 1024

// checkPlaces accepts addresses of a child below its own run's base only: what the engine reads and writes for a run stays
// in that run's folder.
func checkPlaces(spec *engine.ActionSpec, base string) error {
	if spec.OutputBase != base {
		return fault.Invalid("action.run_output_base", "must be that of the run, %q, got %q", base, spec.OutputBase)
	}
	spec.OutputBase = base // one string for all actions of the run
	return checkBelow("action.input_uri", spec.InputURI, base)
}

func checkBelow(field, path, base string) error {
	if len(path) > maxPlace {
		return fault.Invalid(field, "is %d bytes long; at most %d are allowed", len(path), maxPlace)
	}
	if !strings.HasPrefix(path, base+"/") {
		return fault.Invalid(field, "must lie below the run's base %q, got %q", base, path)
	}
	return checkOutside(field, path)
}

const maxPlace = 2048

// runGone tells a run that has ended from one that never was.
func (g *Gateway) runGone(ctx context.Context, run names.Run, err error) error {
	if !fault.Is(err, fault.KindNotFound) {
		return err
	}
	stored, lookup := g.Journal.Run(ctx, run)
	if lookup != nil {
		return err
	}
	if ended, lookup := g.Journal.Ended(ctx, stored.ID); lookup == nil && ended {
		return fault.New(fault.KindAborted, "run %q has ended, or the action that asks has", run.Name)
	}
	return err
}

func (s Actions) taskAction(ctx context.Context, id names.Action, own scope, spec *engine.ActionSpec, t *workflow.TaskAction, specs journal.Specs) error {
	if err := taskspec.Check("action.task.spec", t.GetSpec()); err != nil {
		return err
	}
	digest, raw, err := taskspec.Encode(t.GetSpec())
	if err != nil {
		return err
	}
	facts, err := s.facts.Get(digest, func() (*engine.Task, error) { return taskspec.Facts(digest, t.GetSpec()) })
	if err != nil {
		return err
	}
	specs[digest] = raw
	if t.GetQueue() != "" {
		if err := names.Check("action.task.queue", t.GetQueue()); err != nil {
			return err
		}
	}
	spec.Kind, spec.Task, spec.Queue = engine.KindTask, facts, t.GetQueue()
	if key := t.GetCacheKey().GetValue(); key != "" {
		if len(key) > maxGroup {
			return fault.Invalid("action.task.cache_key", "is %d bytes long; at most %d are allowed", len(key), maxGroup)
		}
		spec.CacheKey = journal.ScopedKey(id.Project, own.globalCache, key)
	}
	if own.recover != nil {
		if spec.Replay, err = s.replay(ctx, own.recover, id.Action, own.base); err != nil {
			return err
		}
	}
	spec.Sleep, err = s.sleepOf(ctx, facts, spec.InputURI)
	return err
}

func (s Actions) traceAction(ctx context.Context, spec *engine.ActionSpec, own scope, t *workflow.TraceAction) error {
	if uri := t.GetOutputs().GetOutputUri(); uri != "" {
		if err := checkBelow("action.trace.outputs.output_uri", uri, own.base); err != nil {
			return err
		}
	}
	phase := engine.Phase(t.GetPhase())
	if phase != engine.PhaseSucceeded && phase != engine.PhaseFailed {
		return fault.Invalid("action.trace.phase", "must be SUCCEEDED or FAILED, got %s", t.GetPhase())
	}
	raw, err := proto.Marshal(t)
	if err != nil {
		return err
	}
	end := &engine.TraceEnd{Phase: phase, OutputURI: t.GetOutputs().GetOutputUri()}
	if phase == engine.PhaseFailed {
		if end.Error, err = s.traceError(ctx, own.base+"/"+spec.Name); err != nil {
			return err
		}
	}
	if at := t.GetStartTime(); at != nil {
		end.Started = engine.At(at.AsTime())
	}
	if at := t.GetEndTime(); at != nil {
		end.Ended = engine.At(at.AsTime())
	}
	spec.Kind, spec.Detail, spec.Trace = engine.KindTrace, raw, end
	return nil
}

// traceError is why a trace failed. The message that reports a trace has no place for it: the SDK leaves it beside the trace's
// inputs. A parent that replays needs it whole: a failure that may pass is called again, any other is raised again.
func (s Actions) traceError(ctx context.Context, folder string) (*engine.Error, error) {
	reported, err := launch.ReadError(ctx, s.Bucket, folder)
	if err == nil && reported == nil {
		reported = &engine.Error{Code: "TraceFailed", Message: "the traced call failed and left no error", Recoverable: true}
	}
	return reported, err
}

func conditionAction(spec *engine.ActionSpec, c *workflow.ConditionAction) error {
	if c.GetType() == nil {
		return fault.Invalid("action.condition.type", "is missing")
	}
	if hook := c.GetWebhook(); hook != nil {
		if address, err := url.Parse(hook.GetUrl()); err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
			return fault.Invalid("action.condition.webhook.url", "must be an http or https URL, got %.200q", hook.GetUrl())
		}
	}
	raw, err := proto.Marshal(c)
	if err != nil {
		return err
	}
	spec.Kind, spec.Detail, spec.Timeout = engine.KindCondition, raw, c.GetTimeout().AsDuration()
	return nil
}

// pageOfUpdates is how many changes are read at once.
const pageOfUpdates = 500

// WatchForUpdates sends the state of every child of an action, then a sentinel, then each change. A client that reads slowly
// gets fewer messages, each with the newest state.
func (s Actions) WatchForUpdates(ctx context.Context, request *actions.WatchForUpdatesRequest, stream *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
	parent, err := actionID("parent_action_id", request.GetParentActionId())
	if err != nil {
		return err
	}
	run, err := s.Journal.Run(ctx, parent.Run)
	if err != nil {
		return err
	}
	follower := s.Journal.Follow(run.ID, parent.Action)
	defer follower.Leave()
	live := false
	send := func() error {
		for {
			children, err := follower.Next(ctx, pageOfUpdates)
			if err != nil {
				return err
			}
			for i := range children {
				if live && !telling(children[i].Phase) {
					continue
				}
				if err := stream.Send(&actions.WatchForUpdatesResponse{Message: &actions.WatchForUpdatesResponse_ActionUpdate{ActionUpdate: update(parent.Run, &children[i])}}); err != nil {
					return err
				}
			}
			if len(children) < pageOfUpdates {
				return nil
			}
		}
	}
	if err := send(); err != nil {
		return err
	}
	sentinel := &actions.WatchForUpdatesResponse_ControlMessage{ControlMessage: &workflow.ControlMessage{Sentinel: true}}
	if err := stream.Send(&actions.WatchForUpdatesResponse{Message: sentinel}); err != nil {
		return err
	}
	live = true
	for {
		select {
		case <-follower.Changed():
			if err := send(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// telling says whether a parent learns something from the phase. Between its enqueue and its end there is only one thing to
// know of a child, that it runs; each message less saves the parent a third of its time per child.
func telling(p engine.Phase) bool {
	return p.Terminal() || p == engine.PhaseRunning || p == engine.PhasePaused
}

// update is what a parent must know of a child. Output and error come with every message, because the SDK overwrites what
// it has with what it gets.
func update(run names.Run, child *journal.Child) *workflow.ActionUpdate {
	u := &workflow.ActionUpdate{ActionId: protoAction(run, child.Name), Phase: common.ActionPhase(child.Phase), OutputUri: child.OutputURI}
	if u.OutputUri == "" && child.Kind == engine.KindTask {
		u.OutputUri = engine.OutputDir(child.OutputBase, child.Name, child.Attempt)
	}
	if child.Phase.Terminal() && !child.Phase.Good() {
		u.Error = executionError(&child.Error)
	}
	if len(child.Value) > 0 {
		value := &core.Literal{}
		if proto.Unmarshal(child.Value, value) == nil {
			u.Value = value
		}
	}
	return u
}

func executionError(failure *engine.Error) *core.ExecutionError {
	e := &core.ExecutionError{Code: failure.Code, Message: failure.Message, Kind: core.ExecutionError_ErrorKind(failure.Kind)}
	if failure.Recoverable {
		e.Recoverability = core.ContainerError_RECOVERABLE
	}
	return e
}

// Abort stops an action and everything below it.
func (s Actions) Abort(ctx context.Context, request *actions.AbortRequest) (*actions.AbortResponse, error) {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return nil, err
	}
	reason := request.GetReason()
	if reason == "" { // the SDK gives none when a parent cancels a call
		reason = "cancelled by its parent"
	}
	return &actions.AbortResponse{}, s.abort(ctx, id, reason, identity(request.GetAbortedBy()))
}

func (g *Gateway) abort(ctx context.Context, id names.Action, reason, by string) error {
	if len(reason) > maxReason {
		return fault.Invalid("reason", "is %d bytes long; at most %d are allowed", len(reason), maxReason)
	}
	_, err := g.Shell.Do(ctx, engine.AbortAction{ID: id, Reason: reason, By: by}, nil)
	if !fault.Is(err, fault.KindNotFound) {
		return err
	}
	run, lookup := g.Journal.Run(ctx, id.Run)
	if lookup != nil {
		return lookup
	}
	if _, lookup := g.Journal.Action(ctx, run.ID, id.Action); lookup != nil {
		return lookup
	}
	return fault.New(fault.KindPrecondition, "action %q has ended already", id.Action)
}

const maxReason = 4096

func identity(who *common.EnrichedIdentity) string {
	if user := who.GetUser(); user != nil {
		return user.GetId().GetSubject()
	}
	return who.GetApplication().GetId().GetSubject()
}

// Signal gives a condition its value.
func (s Actions) Signal(ctx context.Context, request *actions.SignalRequest) (*actions.SignalResponse, error) {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return nil, err
	}
	return &actions.SignalResponse{}, s.signal(ctx, id, request.GetParentActionName(), request.GetValue(), identity(request.GetSignalledBy()))
}

func (g *Gateway) signal(ctx context.Context, id names.Action, parent string, value *core.Literal, by string) error {
	run, err := g.Journal.Run(ctx, id.Run)
	if err != nil {
		return err
	}
	row, err := g.Journal.Action(ctx, run.ID, id.Action)
	if err != nil {
		return err
	}
	if row.Kind != engine.KindCondition {
		return fault.New(fault.KindPrecondition, "action %q is not a condition", id.Action)
	}
	if parent != "" && parent != row.Parent {
		return fault.Invalid("parent_action_name", "the parent of condition %q is %q, not %q", id.Action, row.Parent, parent)
	}
	if row.Phase.Terminal() {
		return fault.New(fault.KindPrecondition, "condition %q has ended already with %s", id.Action, row.Phase)
	}
	condition := &workflow.ConditionAction{}
	if err := proto.Unmarshal(row.Detail, condition); err != nil {
		return err
	}
	if err := checkValue(condition.GetType(), value); err != nil {
		return err
	}
	raw, err := proto.Marshal(value)
	if err != nil {
		return err
	}
	_, err = g.Shell.Do(ctx, engine.Signal{ID: id, Value: raw, By: by}, nil)
	if fault.Is(err, fault.KindNotFound) {
		return fault.New(fault.KindPrecondition, "condition %q has ended already", id.Action)
	}
	return err
}

// checkValue accepts a value of exactly the declared simple type.
func checkValue(declared *core.LiteralType, value *core.Literal) error {
	primitive := value.GetScalar().GetPrimitive()
	got := core.SimpleType_NONE
	switch primitive.GetValue().(type) {
	case *core.Primitive_Integer:
		got = core.SimpleType_INTEGER
	case *core.Primitive_FloatValue:
		got = core.SimpleType_FLOAT
	case *core.Primitive_StringValue:
		got = core.SimpleType_STRING
	case *core.Primitive_Boolean:
		got = core.SimpleType_BOOLEAN
	case *core.Primitive_Datetime:
		got = core.SimpleType_DATETIME
	case *core.Primitive_Duration:
		got = core.SimpleType_DURATION
	}
	if primitive == nil || got != declared.GetSimple() {
		return fault.Invalid("payload", "the condition takes a value of type %s, got %s", strings.ToLower(declared.GetSimple().String()), strings.ToLower(got.String()))
	}
	return nil
}

// scope is what all actions of a run share.
type scope struct {
	base        string // folder of its inputs and outputs
	globalCache bool   // cache entries of every project count
	recover     *recovery
}

func (g *Gateway) scopeOf(ctx context.Context, run names.Run) (scope, error) {
	return g.scopes.Get(run.String(), func() (scope, error) {
		_, root, err := g.Journal.RunAndRoot(ctx, run)
		if err != nil {
			return scope{}, err
		}
		spec, err := g.runSpec(ctx, run)
		if err != nil {
			return scope{}, err
		}
		from, err := recoveryOf(spec)
		return scope{base: root.OutputBase, globalCache: isGlobal(spec), recover: from}, err
	})
}
