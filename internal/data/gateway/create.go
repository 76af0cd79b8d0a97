package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/data/taskspec"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/rpc"
)

// draft is a run about to be made, however it was asked for.
type draft struct {
	run     names.Run
	spec    *task.TaskSpec
	task    names.Task
	runSpec *task.RunSpec
	source  workflow.RunSource
	trigger names.Trigger
	inputs  *common.OffloadedInputData
	parcel  *parcel // inputs that came by value; stored when nothing else can be wrong with the request
	digest  string  // of the request
}

// CreateRun makes a run. The same request again, by name or by the retry of one call, is the same run.
func (g *Gateway) CreateRun(ctx context.Context, request *workflow.CreateRunRequest) (*workflow.CreateRunResponse, error) {
	d := &draft{source: request.GetSource()}
	if d.source == workflow.RunSource_RUN_SOURCE_UNSPECIFIED {
		d.source = workflow.RunSource_RUN_SOURCE_CLI
	}
	if err := d.identify(ctx, request); err != nil {
		return nil, err
	}
	if err := g.Names.Accepts(ctx, d.run.Project); err != nil {
		return nil, err
	}
	d.runSpec = &task.RunSpec{}
	if request.GetRunSpec() != nil {
		d.runSpec = proto.CloneOf(request.GetRunSpec())
	}
	if err := g.chooseTask(ctx, d, request); err != nil {
		return nil, err
	}
	if err := g.chooseInputs(d, request); err != nil {
		return nil, err
	}
	// A rerun starts from a copy of the source's RunSpec: what was stamped there is not this run's.
	d.runSpec.RunStartTime = request.GetRunStartTime()
	return g.create(ctx, d)
}

func (d *draft) identify(ctx context.Context, request *workflow.CreateRunRequest) (err error) {
	named := request.GetRunId() != nil && request.GetRunId().GetName() != ""
	switch {
	case named:
		d.run, err = runID("run_id", request.GetRunId())
	case request.GetRunId() != nil:
		d.run.Project, err = names.NewProject(request.GetRunId().GetProject(), request.GetRunId().GetDomain())
	case request.GetProjectId() != nil:
		d.run.Project, err = projectID(request.GetProjectId())
	default:
		err = fault.Invalid("id", "is missing: give run_id or project_id")
	}
	if err != nil {
		return err
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	d.digest = hex.EncodeToString(sum[:16])
	if !named {
		d.run.Name = generatedName(rpc.RequestID(ctx), d.digest)
	}
	return nil
}

// generatedName is random, unless the call carries a request id that is unique to it (a UUID): then the SDK's own retry of
// the call makes the same name, and so the same run.
func generatedName(requestID, digest string) string {
	var seed [32]byte
	if isUUID(requestID) {
		seed = sha256.Sum256([]byte(requestID + "/" + digest))
	} else if _, err := rand.Read(seed[:]); err != nil {
		panic(err) // crypto/rand never fails on the systems we run on
	}
	return "r" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(seed[:]))[:19]
}

func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (text[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(text[i])) {
			return false
		}
	}
	return true
}

func (g *Gateway) chooseTask(ctx context.Context, d *draft, request *workflow.CreateRunRequest) (err error) {
	switch t := request.GetTask().(type) {
	case *workflow.CreateRunRequest_TaskSpec:
		d.spec = t.TaskSpec
		id := d.spec.GetTaskTemplate().GetId()
		d.task = names.Task{Project: d.run.Project, Name: id.GetName(), Version: id.GetVersion()}
		d.runSpec.TaskSpecSource = task.TaskSpecSource_TASK_SPEC_SOURCE_EPHEMERAL
	case *workflow.CreateRunRequest_TaskId:
		if d.task, err = taskID("task_id", t.TaskId); err != nil {
			return err
		}
		if d.task.Version == "" {
			if d.task, err = g.Names.Latest(ctx, d.task); err != nil {
				return err
			}
		}
		d.runSpec.TaskSpecSource = task.TaskSpecSource_TASK_SPEC_SOURCE_DEPLOYED
		if d.spec, _, err = g.Names.Task(ctx, d.task); err != nil {
			return err
		}
	case *workflow.CreateRunRequest_TriggerName:
		details, err := g.Names.Trigger(ctx, t.TriggerName)
		if err != nil {
			return err
		}
		name := details.GetId().GetName()
		scope, err := names.NewProject(name.GetProject(), name.GetDomain())
		if err != nil {
			return err
		}
		d.trigger = names.Trigger{Project: scope, Task: name.GetTaskName(), Name: name.GetName()}
		d.task = names.Task{Project: scope, Name: name.GetTaskName(), Version: details.GetSpec().GetTaskVersion()}
		d.runSpec.TaskSpecSource = task.TaskSpecSource_TASK_SPEC_SOURCE_DEPLOYED
		if d.spec, _, err = g.Names.Task(ctx, d.task); err != nil {
			return err
		}
	default:
		return fault.Invalid("task", "is missing: give task_spec, task_id or trigger_name")
	}
	return taskspec.Check("task_spec", d.spec)
}

func taskID(field string, id *task.TaskIdentifier) (names.Task, error) {
	scope, err := names.NewProject(id.GetProject(), id.GetDomain())
	if err != nil {
		return names.Task{}, err
	}
	if err := names.Check(field+".name", id.GetName()); err != nil {
		return names.Task{}, err
	}
	if id.GetVersion() != "" {
		if err := names.Check(field+".version", id.GetVersion()); err != nil {
			return names.Task{}, err
		}
	}
	return names.Task{Project: scope, Name: id.GetName(), Version: id.GetVersion()}, nil
}

func (g *Gateway) chooseInputs(d *draft, request *workflow.CreateRunRequest) (err error) {
	if offloaded := request.GetOffloadedInputData(); offloaded != nil {
		if err := g.checkInputs(d, offloaded.GetUri()); err != nil {
			return err
		}
		d.inputs = offloaded
		return nil
	}
	inputs := request.GetInputs()
	if inputs == nil {
		inputs = &task.Inputs{}
	}
	d.parcel, d.inputs, err = g.pack(d.run.Project, d.spec, inputs)
	return err
}

// checkInputs accepts inputs in the bucket, or below the folder that the run itself chose.
func (g *Gateway) checkInputs(d *draft, uri string) error {
	_, err := g.Bucket.Key(uri)
	if err == nil {
		return nil
	}
	base := strings.TrimRight(d.runSpec.GetRunBaseDir(), "/")
	if base != "" && strings.HasPrefix(uri, base+"/") && checkOutside("offloaded_input_data.uri", uri) == nil {
		return nil
	}
	return fault.Invalid("offloaded_input_data.uri", "is not an address that this plane gave: %v", err)
}

// create turns a complete draft into a run: settings fill in what the request leaves open, then the engine commits it.
func (g *Gateway) create(ctx context.Context, d *draft) (*workflow.CreateRunResponse, error) {
	if err := g.applySettings(ctx, d); err != nil {
		return nil, err
	}
	if err := taskspec.CheckRun("run_spec", d.runSpec); err != nil {
		return nil, err
	}
	if err := g.checkRawData(d.runSpec.GetRawDataStorage().GetRawDataPrefix()); err != nil {
		return nil, err
	}
	base, err := g.runBase(d)
	if err != nil {
		return nil, err
	}
	digest, raw, err := taskspec.Encode(d.spec)
	if err != nil {
		return nil, err
	}
	facts, err := taskspec.Facts(digest, d.spec)
	if err != nil {
		return nil, err
	}
	if facts.Builtin == engine.BuiltinNone { // a built-in has no code to find
		if err := g.checkBundle(ctx, d.spec); err != nil {
			return nil, err
		}
	}
	if err := g.checkBuild(ctx, d, facts); err != nil {
		return nil, err
	}
	cacheKey, err := taskspec.CacheKey(d.spec, d.inputs.GetInputsHash())
	if err != nil {
		return nil, err
	}
	if d.runSpec.GetRunStartTime() == nil {
		d.runSpec.RunStartTime = timestamppb.New(g.Now().UTC().Truncate(time.Microsecond))
	}
	run := &engine.Run{
		Name: d.run, Digest: d.digest, MaxConcurrency: d.runSpec.GetMaxActionConcurrency(),
		OverwriteCache: d.runSpec.GetOverwriteCache() || d.runSpec.GetCacheConfig().GetOverwriteCache(),
		GlobalCache:    d.runSpec.GetCacheConfig().GetCacheLookupScope() == task.CacheLookupScope_CACHE_LOOKUP_SCOPE_GLOBAL,
	}
	row, err := g.runRow(d, run)
	if err != nil {
		return nil, err
	}
	sleep, err := g.deliver(ctx, d, facts)
	if err != nil {
		return nil, err
	}
	root := engine.ActionSpec{
		Name: names.Root, Kind: engine.KindTask, Task: facts, InputURI: d.inputs.GetUri(), OutputBase: base,
		CacheKey: journal.ScopedKey(d.run.Project, run.GlobalCache, cacheKey), Queue: d.runSpec.GetQueue(), Sleep: sleep,
	}
	if err := g.recoverFrom(ctx, d, run, &root); err != nil {
		return nil, err
	}
	_, err = g.Shell.Do(ctx, engine.CreateRun{Run: run, Root: root, Row: row}, journal.Specs{digest: raw})
	if err != nil {
		return nil, err
	}
	stored, committed, err := g.Journal.RunAndRoot(ctx, d.run)
	if err != nil {
		return nil, err
	}
	action, err := g.actionMessage(ctx, stored, committed)
	return &workflow.CreateRunResponse{Run: &workflow.Run{Action: action, Labels: stored.Labels}}, err
}

// deliver makes sure that the inputs are there, and reads of them what the engine needs. For a run that exists already, with
// these or other inputs, nothing is written: the engine answers that.
func (g *Gateway) deliver(ctx context.Context, d *draft, facts *engine.Task) (sleep time.Duration, err error) {
	if d.parcel == nil {
		return g.sleepOf(ctx, facts, d.inputs.GetUri())
	}
	if facts.Builtin == engine.BuiltinSleep {
		if sleep, err = sleepLength(d.parcel.inputs); err != nil {
			return 0, err
		}
	}
	if _, err := g.Journal.Run(ctx, d.run); !fault.Is(err, fault.KindNotFound) {
		return sleep, err
	}
	return sleep, g.store(ctx, d.parcel)
}

func (g *Gateway) checkBuild(ctx context.Context, d *draft, facts *engine.Task) error {
	if facts.Type != taskspec.TypeImageBuild || g.CheckBuild == nil {
		return nil
	}
	if d.parcel != nil {
		return g.CheckBuild(ctx, d.parcel.inputs)
	}
	inputs, err := g.readInputs(ctx, d.inputs.GetUri())
	if err != nil {
		return err
	}
	return g.CheckBuild(ctx, inputs)
}

func (g *Gateway) runRow(d *draft, run *engine.Run) (*journal.RunRow, error) {
	row := &journal.RunRow{
		Source: int32(d.source), TaskProject: d.task.Project.Project, TaskDomain: d.task.Domain, TaskName: d.task.Name, TaskVersion: d.task.Version,
		TriggerTask: d.trigger.Task, TriggerName: d.trigger.Name, Labels: d.runSpec.GetLabels().GetValues(),
	}
	relation := d.runSpec.GetRelation()
	related := relation.GetRelatedTo()
	if related == nil {
		related = d.runSpec.GetRelatedTo()
	}
	if related != nil {
		from, err := names.NewRun(related.GetProject(), related.GetDomain(), related.GetName())
		if err != nil {
			return nil, fault.Invalid("run_spec.relation.related_to", "%v", err)
		}
		row.RelatedTo, row.Relation = journal.RunText(from), int32(relation.GetRelationType())
	}
	raw, err := proto.Marshal(d.runSpec)
	if err != nil {
		return nil, err
	}
	row.RunSpec = append([]byte{}, raw...)
	return row, nil
}

// runBase is the folder of the run's inputs and outputs: in the bucket, or where the request or the settings say.
func (g *Gateway) runBase(d *draft) (string, error) {
	chosen := strings.TrimRight(d.runSpec.GetRunBaseDir(), "/")
	parts := []string{d.run.Project.Project, d.run.Domain, d.run.Name}
	if chosen == "" {
		key, err := bucketKey(append([]string{"runs"}, parts...)...)
		return g.Bucket.URI(key), err
	}
	if err := checkOutside("run_spec.run_base_dir", chosen); err != nil {
		return "", err
	}
	return chosen + "/" + strings.Join(parts, "/"), nil
}

// checkRawData accepts object stores for the files of a run's tasks. On a bare path the SDK does not copy a File or a Dir that a
// task returns: it hands on the path within the task's private folder, which goes away with the task.
func (g *Gateway) checkRawData(prefix string) error {
	const field = "run_spec.raw_data_storage.raw_data_prefix"
	if prefix == "" {
		return nil
	}
	if scheme, _, found := strings.Cut(prefix, "://"); !found || scheme == "file" {
		return fault.Invalid(field, "must be an address in an object store, like s3://bucket/folder, got %q; in a folder the SDK keeps no copies of the files that tasks return", prefix)
	}
	if err := names.CheckPlace(field, prefix); err != nil || g.CheckRaw == nil {
		return err
	}
	if err := g.CheckRaw(prefix); err != nil {
		return fault.Invalid(field, "%v", err)
	}
	return nil
}
