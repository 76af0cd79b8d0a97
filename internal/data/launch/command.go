package launch

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/taskspec"
	"biplane.dev/biplane/internal/names"
)

// runFacts is what all attempts of a run share.
type runFacts struct {
	spec    *task.RunSpec
	started time.Time
}

// taskFacts is what all attempts of a task share.
type taskFacts struct {
	spec        *task.TaskSpec
	memoryLimit int64
}

func (l *Launcher) run(ctx context.Context, name names.Run) (*runFacts, error) {
	return l.runs.Get(name.String(), func() (*runFacts, error) {
		row, err := l.config.Journal.Run(ctx, name)
		if err != nil {
			return nil, err
		}
		spec := &task.RunSpec{}
		if err := proto.Unmarshal(row.RunSpec, spec); err != nil {
			return nil, err
		}
		started := row.Created.Clock()
		if at := spec.GetRunStartTime(); at != nil {
			started = at.AsTime()
		}
		return &runFacts{spec: spec, started: started}, nil
	})
}

func (l *Launcher) task(ctx context.Context, digest string) (*taskFacts, error) {
	return l.specs.Get(digest, func() (*taskFacts, error) {
		raw, err := l.config.Journal.Spec(ctx, digest)
		if err != nil {
			return nil, err
		}
		spec := &task.TaskSpec{}
		if err := proto.Unmarshal(raw, spec); err != nil {
			return nil, err
		}
		limit, err := taskspec.MemoryLimit(spec.GetTaskTemplate())
		return &taskFacts{spec: spec, memoryLimit: limit}, err
	})
}

// command renders the attempt: the argv and the environment that the SDK's runtime expects (flyte/_bin/runtime.py), in a
// clean environment, so that nothing of the machine's own Flyte configuration reaches a task.
func (l *Launcher) command(ctx context.Context, e engine.StartAttempt) (command executor.Command, release func(), err error) {
	run, err := l.run(ctx, e.ID.Run)
	if err != nil {
		return command, nil, err
	}
	facts, err := l.task(ctx, e.Task.Digest)
	if err != nil {
		return command, nil, err
	}
	template := facts.spec.GetTaskTemplate()
	container := template.GetContainer()
	environment, err := l.config.Images.Environment(ctx, container.GetImage())
	if err != nil {
		return command, nil, err
	}
	env := maps.Clone(l.config.Base)
	if raw := l.rawData(run.spec, e.ID.Action, e.ID.Number); strings.HasPrefix(raw, l.config.RawPrefix+"/") || !strings.HasPrefix(raw, "s3://") {
		maps.Copy(env, l.config.Storage)
	}
	maps.Copy(env, environment.Vars)
	for _, list := range [][]*core.KeyValuePair{container.GetEnv(), run.spec.GetEnvs().GetValues()} {
		for _, pair := range list {
			env[pair.GetKey()] = pair.GetValue()
		}
	}
	wanted := append(slices.Clone(template.GetSecurityContext().GetSecrets()), run.spec.GetSecurityContext().GetSecrets()...)
	secretEnv, files, err := l.config.Secrets.Deliver(ctx, e.ID.Project, wanted)
	if err != nil {
		return command, environment.Release, err
	}
	maps.Copy(env, secretEnv)
	maps.Copy(env, l.identity(e, template))
	env["PATH"] = strings.Join(append(environment.Path, "/usr/local/bin", "/usr/bin", "/bin"), ":")

	values := l.placeholders(e, run)
	values["prevcheckpointprefix"] = l.previousCheckpoint(ctx, e, run)
	argv := append(append([]string(nil), container.GetCommand()...), container.GetArgs()...)
	for i, arg := range argv {
		argv[i] = render(arg, values)
	}
	return executor.Command{
		ID: e.ID, Args: argv, Env: env, Files: files, MemoryLimit: facts.memoryLimit, CPUMillis: e.Task.CPUMillis, Grace: l.config.Grace,
		Seed: environment.Seed,
	}, environment.Release, nil
}

// identity are the variables that say which attempt this is and where the plane is; nothing a user sets can replace them.
func (l *Launcher) identity(e engine.StartAttempt, template *core.TaskTemplate) map[string]string {
	return map[string]string{
		"ACTION_NAME":                      e.ID.Action.Action,
		"RUN_NAME":                         e.ID.Name,
		"_U_RUN_BASE":                      e.OutputBase,
		"_U_ORG_NAME":                      e.ID.Org,
		"FLYTE_INTERNAL_EXECUTION_PROJECT": e.ID.Project.Project,
		"FLYTE_INTERNAL_EXECUTION_DOMAIN":  e.ID.Domain,
		"FLYTE_INTERNAL_EXECUTION_ID":      e.ID.Name,
		"FLYTE_INTERNAL_TASK_PROJECT":      template.GetId().GetProject(),
		"FLYTE_INTERNAL_TASK_DOMAIN":       template.GetId().GetDomain(),
		"FLYTE_INTERNAL_TASK_NAME":         template.GetId().GetName(),
		"FLYTE_INTERNAL_TASK_VERSION":      template.GetId().GetVersion(),
		"FLYTE_ATTEMPT_NUMBER":             strconv.Itoa(int(e.ID.Number) - 1),
		"_U_EP_OVERRIDE":                   l.config.Endpoint,
		"_U_INSECURE":                      "true",
		"_U_USE_ACTIONS":                   "1",
		"_F_MAX_QPS":                       strconv.Itoa(l.config.MaxQPS),
		"HOME":                             l.config.Home,
	}
}

func (l *Launcher) placeholders(e engine.StartAttempt, run *runFacts) map[string]string {
	raw := l.rawData(run.spec, e.ID.Action, e.ID.Number)
	return map[string]string{
		"input":                  e.InputURI,
		"outputprefix":           engine.OutputDir(e.OutputBase, e.ID.Action.Action, e.ID.Number),
		"rawoutputdataprefix":    raw,
		"checkpointoutputprefix": checkpointOf(raw),
		"runname":                e.ID.Name,
		"actionname":             e.ID.Action.Action,
		"runstarttime":           run.started.UTC().Format(time.RFC3339Nano),
		"namespace":              e.ID.Project.Project + "-" + e.ID.Domain,
		"perretryuniquekey":      e.ID.Name + "-" + e.ID.Action.Action + "-" + strconv.Itoa(int(e.ID.Number)),
	}
}

// rawData is where an attempt keeps files and frames: its own place, so that attempts never meet.
func (l *Launcher) rawData(run *task.RunSpec, action names.Action, attempt uint32) string {
	prefix := strings.TrimRight(run.GetRawDataStorage().GetRawDataPrefix(), "/")
	if prefix == "" {
		prefix = l.config.RawPrefix
	}
	return strings.Join([]string{prefix, action.Project.Project, action.Domain, action.Name, action.Action, strconv.Itoa(int(attempt))}, "/")
}

var placeholder = regexp.MustCompile(`\{\{\s*\.(\w+)\s*\}\}`)

// render fills in the placeholders of one argument. One that is not known stays, as the SDK's runtime handles those itself.
func render(arg string, values map[string]string) string {
	if !strings.Contains(arg, "{{") {
		return arg
	}
	return placeholder.ReplaceAllStringFunc(arg, func(match string) string {
		name := placeholder.FindStringSubmatch(match)[1]
		if value, ok := values[strings.ToLower(name)]; ok {
			return value
		}
		return match
	})
}
