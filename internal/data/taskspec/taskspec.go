package taskspec

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/fault"
)

// TypeImageBuild is the task type of the image builder that every plane has.
const TypeImageBuild = "image-build"

// Encode gives the bytes and the digest under which a specification is interned.
func Encode(spec *task.TaskSpec) (digest string, raw []byte, err error) {
	raw, err = proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), raw, nil
}

// Decode is the inverse of Encode, as the engine needs it.
func Decode(digest string, raw []byte) (*engine.Task, error) {
	spec := &task.TaskSpec{}
	if err := proto.Unmarshal(raw, spec); err != nil {
		return nil, err
	}
	return Facts(digest, spec)
}

// Check says whether a process on this machine can run the task; the fault names what cannot and where it would run.
func Check(field string, spec *task.TaskSpec) error {
	template := spec.GetTaskTemplate()
	if template == nil {
		return fault.Invalid(field+".task_template", "is missing")
	}
	if template.GetId().GetName() == "" {
		return fault.Invalid(field+".task_template.id.name", "is empty")
	}
	const elsewhere = "this data plane runs tasks as processes, without a container runtime; run it on a data plane with Kubernetes"
	switch {
	case builtin(template) != engine.BuiltinNone:
		return checkBuiltin(field, template)
	case template.GetType() == "raw-container":
		return fault.Invalid(field+".task_template.type", "task %q is a raw container; %s", template.GetId().GetName(), elsewhere)
	case template.GetK8SPod() != nil:
		return fault.Invalid(field+".task_template.k8s_pod", "task %q has a pod template; %s", template.GetId().GetName(), elsewhere)
	case template.GetMetadata().GetPodTemplateName() != "":
		return fault.Invalid(field+".task_template.metadata.pod_template_name", "task %q uses the pod template %q; %s", template.GetId().GetName(), template.GetMetadata().GetPodTemplateName(), elsewhere)
	case template.GetSql() != nil:
		return fault.Invalid(field+".task_template.sql", "task %q is an SQL statement, which needs a connector; this data plane has none", template.GetId().GetName())
	case template.GetContainer() == nil:
		return fault.Invalid(field+".task_template.container", "task %q of type %q has no container to run", template.GetId().GetName(), template.GetType())
	case len(template.GetContainer().GetArgs())+len(template.GetContainer().GetCommand()) == 0:
		return fault.Invalid(field+".task_template.container.args", "task %q has no command", template.GetId().GetName())
	}
	switch template.GetType() {
	case "python", "actor", "python-task", "sandboxed-python":
		return checkProcess(field+".task_template.container", template.GetContainer())
	}
	return fault.Invalid(field+".task_template.type", "task %q has type %q, which needs a plug-in that this data plane does not have", template.GetId().GetName(), template.GetType())
}

func builtin(template *core.TaskTemplate) engine.Builtin {
	switch template.GetType() {
	case "core-sleep":
		return engine.BuiltinSleep
	case "echo":
		return engine.BuiltinEcho
	case TypeImageBuild:
		return engine.BuiltinFunction
	}
	return engine.BuiltinNone
}

func checkBuiltin(field string, template *core.TaskTemplate) error {
	inputs, outputs := template.GetInterface().GetInputs().GetVariables(), template.GetInterface().GetOutputs().GetVariables()
	switch template.GetType() {
	case "echo":
		same := func(in, out *core.VariableEntry) bool {
			return proto.Equal(in.GetValue().GetType(), out.GetValue().GetType())
		}
		if !slices.EqualFunc(inputs, outputs, same) {
			return fault.Invalid(field+".task_template.interface", "an echo task has as many outputs as inputs, of the same types in the same order")
		}
		return nil
	case "core-sleep":
	default:
		return nil
	}
	if len(inputs) != 1 || inputs[0].GetValue().GetType().GetSimple() != core.SimpleType_DURATION || HasOutputs(template) {
		return fault.Invalid(field+".task_template.interface", "a core-sleep task has exactly one input, a duration, and no outputs")
	}
	return nil
}

// HasOutputs says whether a successful attempt must leave outputs.
func HasOutputs(template *core.TaskTemplate) bool {
	return len(template.GetInterface().GetOutputs().GetVariables()) > 0
}

// Facts extracts what the engine must know.
func Facts(digest string, spec *task.TaskSpec) (*engine.Task, error) {
	template := spec.GetTaskTemplate()
	meta := template.GetMetadata()
	facts := &engine.Task{
		Digest: digest, Name: template.GetId().GetName(), Version: template.GetId().GetVersion(), ShortName: spec.GetShortName(),
		Type: template.GetType(), Builtin: builtin(template),
		Retries: meta.GetRetries().GetRetries(), MaxRuntime: meta.GetTimeout().AsDuration(),
		QueuedTimeout: meta.GetTimeouts().GetQueuedTimeout().AsDuration(), Deadline: meta.GetTimeouts().GetDeadline().AsDuration(),
		Serialize: meta.GetCacheSerializable(), CacheMaxAge: meta.GetCacheMaxAge().AsDuration(),
	}
	if backoff := meta.GetRetries().GetBackoff(); backoff != nil {
		facts.Backoff = engine.Backoff{Base: backoff.GetBase().AsDuration(), Factor: 1, Cap: backoff.GetCap().AsDuration()}
		if backoff.Factor != nil {
			facts.Backoff.Factor = backoff.GetFactor()
		}
	}
	for _, entry := range template.GetContainer().GetResources().GetRequests() {
		if err := request(facts, entry); err != nil {
			return nil, err
		}
	}
	if template.GetExtendedResources().GetGpuAccelerator() != nil {
		facts.NoFit = "gpu"
	}
	return facts, nil
}

func request(facts *engine.Task, entry *core.Resources_ResourceEntry) (err error) {
	field := "resources.requests." + strings.ToLower(entry.GetName().String())
	switch entry.GetName() {
	case core.Resources_CPU:
		facts.CPUMillis, err = Quantity(field, entry.GetValue(), 1000)
	case core.Resources_MEMORY:
		facts.Memory, err = Quantity(field, entry.GetValue(), 1)
	case core.Resources_GPU:
		var n int64
		if n, err = Quantity(field, entry.GetValue(), 1); n > 0 {
			facts.NoFit = "gpu"
		}
	}
	return err
}

// MemoryLimit is the most bytes that the task's processes may use together; 0 is no limit. A task that states only a
// request is limited to that.
func MemoryLimit(template *core.TaskTemplate) (limit int64, err error) {
	resources := template.GetContainer().GetResources()
	for _, list := range [][]*core.Resources_ResourceEntry{resources.GetRequests(), resources.GetLimits()} {
		for _, entry := range list {
			if entry.GetName() == core.Resources_MEMORY {
				if limit, err = Quantity("resources.memory", entry.GetValue(), 1); err != nil {
					return 0, err
				}
			}
		}
	}
	return limit, nil
}
