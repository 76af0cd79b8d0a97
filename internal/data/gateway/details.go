package gateway

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

func timestamp(t engine.Time) *timestamppb.Timestamp {
	if t == 0 {
		return nil
	}
	return timestamppb.New(t.Clock())
}

// status of an action. It starts when it is created, so that a client can show a time from the first moment on.
func status(row *journal.Row) *workflow.ActionStatus {
	s := &workflow.ActionStatus{
		Phase: common.ActionPhase(row.Phase), StartTime: timestamp(row.Created), Attempts: row.Attempt,
		CacheStatus: core.CatalogCacheStatus(row.CacheStatus), EndTime: timestamp(row.Ended),
	}
	if row.Kind == engine.KindTrace && row.Started != 0 {
		s.StartTime = timestamp(row.Started)
	}
	if row.Ended != 0 {
		s.DurationMs = proto.Uint64(uint64(max(0, s.EndTime.AsTime().Sub(s.StartTime.AsTime())) / time.Millisecond))
	}
	return s
}

// metadata of an action, with what only its run knows.
func (g *Gateway) metadata(ctx context.Context, run *journal.RunInfo, row *journal.Row) (*workflow.ActionMetadata, error) {
	m := &workflow.ActionMetadata{
		Parent: row.Parent, Group: row.Group, ActionType: workflow.ActionType(row.Kind), Source: workflow.RunSource(run.Source),
	}
	if run.TriggerName != "" {
		m.TriggerName = run.TriggerName
		m.TriggerId = &common.TriggerIdentifier{Name: &common.TriggerName{
			Org: run.Name.Org, Project: run.TaskProject, Domain: run.TaskDomain, Name: run.TriggerName, TaskName: run.TriggerTask,
		}}
	}
	if run.RelatedTo != "" {
		if related, err := journal.ParseRun(run.RelatedTo); err == nil {
			m.Relation = &common.Relation{RelatedTo: protoRun(related), RelationType: common.RelationType(run.Relation)}
		}
	}
	if row.Phase == engine.PhaseRecovered {
		if from, err := journal.ParseRun(row.From.Run); err == nil {
			m.RecoveredFrom = protoAction(from, row.From.Action)
		}
	}
	switch row.Kind {
	case engine.KindTask:
		spec, err := g.taskSpec(ctx, row.Spec)
		if err != nil {
			return nil, err
		}
		m.EnvironmentName, m.FuntionName = spec.GetEnvironment().GetName(), spec.GetShortName()
		m.Spec = &workflow.ActionMetadata_Task{Task: &workflow.TaskActionMetadata{
			Id: taskIdentifier(spec), TaskType: spec.GetTaskTemplate().GetType(), ShortName: spec.GetShortName(),
		}}
	case engine.KindTrace:
		trace := &workflow.TraceAction{}
		if err := proto.Unmarshal(row.Detail, trace); err != nil {
			return nil, err
		}
		m.FuntionName = trace.GetName()
		m.Spec = &workflow.ActionMetadata_Trace{Trace: &workflow.TraceActionMetadata{Name: trace.GetName()}}
	case engine.KindCondition:
		condition := &workflow.ConditionAction{}
		if err := proto.Unmarshal(row.Detail, condition); err != nil {
			return nil, err
		}
		m.FuntionName = condition.GetName()
		m.Spec = &workflow.ActionMetadata_Condition{Condition: &workflow.ConditionActionMetadata{Name: condition.GetName(), Type: condition.GetType()}}
	}
	return m, nil
}

func taskIdentifier(spec *task.TaskSpec) *task.TaskIdentifier {
	id := spec.GetTaskTemplate().GetId()
	return &task.TaskIdentifier{Org: names.Org, Project: id.GetProject(), Domain: id.GetDomain(), Name: id.GetName(), Version: id.GetVersion()}
}

func (g *Gateway) taskSpec(ctx context.Context, digest string) (*task.TaskSpec, error) {
	return g.specs.Get(digest, func() (*task.TaskSpec, error) {
		raw, err := g.Journal.Spec(ctx, digest)
		if err != nil {
			return nil, err
		}
		spec := &task.TaskSpec{}
		return spec, proto.Unmarshal(raw, spec)
	})
}

func (g *Gateway) actionMessage(ctx context.Context, run *journal.RunInfo, row *journal.Row) (*workflow.Action, error) {
	m, err := g.metadata(ctx, run, row)
	return &workflow.Action{Id: protoAction(run.Name, row.Name), Metadata: m, Status: status(row)}, err
}

// runMessage is a run as lists show it: its root action and its labels.
func (g *Gateway) runMessage(ctx context.Context, run *journal.RunInfo) (*workflow.Run, error) {
	root, err := g.Journal.Action(ctx, run.ID, names.Root)
	if err != nil {
		return nil, err
	}
	action, err := g.actionMessage(ctx, run, root)
	return &workflow.Run{Action: action, Labels: run.Labels}, err
}

// details is everything about an action. It is what a client decides by, so it is always whole.
func (g *Gateway) details(ctx context.Context, run *journal.RunInfo, name string) (*workflow.ActionDetails, *journal.Row, error) {
	row, err := g.Journal.Action(ctx, run.ID, name)
	if err != nil {
		return nil, nil, err
	}
	d := &workflow.ActionDetails{Id: protoAction(run.Name, name), Status: status(row)}
	if d.Metadata, err = g.metadata(ctx, run, row); err != nil {
		return nil, nil, err
	}
	if err := g.describe(ctx, d, row); err != nil {
		return nil, nil, err
	}
	if d.Attempts, err = g.attempts(ctx, run, row); err != nil {
		return nil, nil, err
	}
	result(d, run, row)
	return d, row, nil
}

func (g *Gateway) describe(ctx context.Context, d *workflow.ActionDetails, row *journal.Row) error {
	switch row.Kind {
	case engine.KindTask:
		spec, err := g.taskSpec(ctx, row.Spec)
		d.Spec = &workflow.ActionDetails_Task{Task: spec}
		return err
	case engine.KindTrace:
		trace := &workflow.TraceAction{}
		err := proto.Unmarshal(row.Detail, trace)
		d.Spec = &workflow.ActionDetails_Trace{Trace: trace.GetSpec()}
		return err
	default:
		condition := &workflow.ConditionAction{}
		err := proto.Unmarshal(row.Detail, condition)
		d.Spec = &workflow.ActionDetails_Condition{Condition: condition}
		return err
	}
}

func result(d *workflow.ActionDetails, run *journal.RunInfo, row *journal.Row) {
	switch {
	case row.Phase == engine.PhaseAborted:
		reason, by := row.AbortReason, row.AbortedBy
		if reason == "" && row.Parent == "" {
			reason, by = run.AbortReason, run.AbortedBy
		}
		d.Result = &workflow.ActionDetails_AbortInfo{AbortInfo: &workflow.AbortInfo{Reason: reason, AbortedBy: user(by)}}
	case row.Phase.Terminal() && !row.Phase.Good():
		d.Result = &workflow.ActionDetails_ErrorInfo{ErrorInfo: errorInfo(&row.Error)}
	case len(row.Value) > 0:
		value := &core.Literal{}
		if proto.Unmarshal(row.Value, value) == nil {
			d.Result = &workflow.ActionDetails_SignalInfo{SignalInfo: &workflow.SignalInfo{Output: value}}
		}
	}
}

func user(subject string) *common.EnrichedIdentity {
	if subject == "" {
		return nil
	}
	return &common.EnrichedIdentity{Principal: &common.EnrichedIdentity_User{User: &common.User{Id: &common.UserIdentifier{Subject: subject}}}}
}

func errorInfo(e *engine.Error) *workflow.ErrorInfo {
	info := &workflow.ErrorInfo{Message: e.Message, Code: e.Code, Kind: workflow.ErrorInfo_KIND_USER}
	if e.Kind == engine.ErrorSystem {
		info.Kind = workflow.ErrorInfo_KIND_SYSTEM
	}
	return info
}

func (g *Gateway) attempts(ctx context.Context, run *journal.RunInfo, row *journal.Row) (all []*workflow.ActionAttempt, err error) {
	if row.Attempt > 1 {
		past, err := g.Journal.PastAttempts(ctx, run.ID, row.Name)
		if err != nil {
			return nil, err
		}
		for _, p := range past {
			all = append(all, g.attempt(ctx, run, row, p))
		}
	}
	last := engine.PastAttempt{
		Attempt: row.Attempt, Phase: row.Phase, Queued: row.Queued, Initialized: row.Initialized, Started: row.Started, Ended: row.Ended,
		OutputURI: row.OutputURI,
	}
	if row.Error.Code != "" || row.Error.Message != "" {
		last.Error = &row.Error
	}
	return append(all, g.attempt(ctx, run, row, last)), nil
}

func (g *Gateway) attempt(ctx context.Context, run *journal.RunInfo, row *journal.Row, p engine.PastAttempt) *workflow.ActionAttempt {
	a := &workflow.ActionAttempt{
		Attempt: p.Attempt, Phase: common.ActionPhase(p.Phase), StartTime: timestamp(p.Queued), EndTime: timestamp(p.Ended),
		CacheStatus: core.CatalogCacheStatus(row.CacheStatus), PhaseTransitions: transitions(p), Cluster: "local",
	}
	if p.Started != 0 {
		a.StartTime = timestamp(p.Started)
	}
	if p.Error != nil && p.Error.Code != "" && p.Phase.Terminal() {
		a.ErrorInfo = errorInfo(p.Error)
	}
	if p.OutputURI != "" {
		a.Outputs = &task.OutputReferences{OutputUri: outputsFile(row.Kind, p.OutputURI)}
		if report := g.reportOf(ctx, p.OutputURI); report != "" {
			a.Outputs.ReportUri = report
		}
	}
	if row.From.Action != "" && row.CacheStatus == engine.CacheHit {
		if from, err := journal.ParseRun(row.From.Run); err == nil {
			a.CacheMetadata = &common.CacheMetadata{SourceActionAttempt: &common.ActionAttemptIdentifier{ActionId: protoAction(from, row.From.Action), Attempt: row.From.Attempt}}
		}
	}
	if row.Kind == engine.KindTask {
		a.LogsAvailable = g.Logs.Exists(ctx, names.Attempt{Action: names.Action{Run: run.Name, Action: row.Name}, Number: p.Attempt})
	}
	return a
}

// outputsFile is the address of outputs.pb: a trace says it in full, a task names its folder.
func outputsFile(kind engine.Kind, uri string) string {
	if kind == engine.KindTrace || uri == "" {
		return uri
	}
	return uri + "/outputs.pb"
}

func (g *Gateway) reportOf(ctx context.Context, folder string) string {
	uri := folder + "/report.html"
	key, err := g.Bucket.Key(uri)
	if err != nil {
		return ""
	}
	if _, err := g.Bucket.Stat(ctx, key); err != nil {
		return ""
	}
	return uri
}

// transitions are the phases that an attempt went through, with the moments that are kept of it.
func transitions(p engine.PastAttempt) (all []*workflow.PhaseTransition) {
	add := func(phase engine.Phase, at engine.Time) {
		if at == 0 {
			return
		}
		if n := len(all); n > 0 {
			all[n-1].EndTime = timestamp(at)
		}
		all = append(all, &workflow.PhaseTransition{Phase: common.ActionPhase(phase), StartTime: timestamp(at)})
	}
	add(engine.PhaseQueued, p.Queued)
	add(engine.PhaseInitializing, p.Initialized)
	if p.Phase != engine.PhaseInitializing && p.Phase != engine.PhaseQueued {
		add(engine.PhaseRunning, p.Started)
	}
	if p.Phase.Terminal() {
		add(p.Phase, p.Ended)
		if n := len(all); n > 0 {
			all[n-1].EndTime = timestamp(p.Ended)
		}
	}
	return all
}

func (g *Gateway) runSpec(ctx context.Context, name names.Run) (*task.RunSpec, error) {
	run, err := g.Journal.Run(ctx, name)
	if err != nil {
		return nil, err
	}
	spec := &task.RunSpec{}
	return spec, proto.Unmarshal(run.RunSpec, spec)
}

func isGlobal(spec *task.RunSpec) bool {
	return spec.GetCacheConfig().GetCacheLookupScope() == task.CacheLookupScope_CACHE_LOOKUP_SCOPE_GLOBAL
}

// gone words a missing object so that the SDK, which looks for the word, knows which of the two it was.
func gone(err error, what string) error {
	if !fault.Is(err, fault.KindNotFound) {
		return err
	}
	return fault.New(fault.KindNotFound, "the %s of this action are gone: %s", what, strings.TrimSpace(err.Error()))
}
