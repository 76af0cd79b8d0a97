package plane_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
)

// A process cannot have just any arguments and variables. What it cannot have is refused with the place of it.
func TestTasksThatCannotBe(t *testing.T) {
	b := start(t)
	before := b.snapshot()
	for what, test := range map[string]struct {
		change func(*core.Container)
		words  []string
	}{
		"argument with NUL":   {func(c *core.Container) { c.Args = []string{"a", "b\x00c"} }, []string{"args[1]", "NUL"}},
		"command with NUL":    {func(c *core.Container) { c.Command = []string{"sh\x00"} }, []string{"command[0]", "NUL"}},
		"no command":          {func(c *core.Container) { c.Command = nil }, []string{"has no command"}},
		"value with NUL":      {variables("A", "\x00"), []string{"env[0].value", "NUL"}},
		"variable with NUL":   {variables("A\x00B", "x"), []string{"env[0].key", "is not the name of an environment variable"}},
		"another variable":    {variables("RUN_NAME=another", "x"), []string{"env[0].key", "is not the name"}},
		"variable of no name": {variables("", "x"), []string{"env[0].key", "is not the name"}},
	} {
		t.Run(what, func(t *testing.T) {
			request := createRequest("never", scriptSpec("echo it ran"), nil)
			test.change(request.GetTaskSpec().GetTaskTemplate().GetContainer())
			_, err := b.runs.CreateRun(t.Context(), request)
			wantCode(t, err, connect.CodeInvalidArgument, append(test.words, "task_spec.task_template.container")...)
		})
	}
	request := createRequest("never", scriptSpec("echo it ran"), nil)
	request.RunSpec = &task.RunSpec{Envs: &task.Envs{Values: []*core.KeyValuePair{{Key: "A=B", Value: "x"}}}}
	_, err := b.runs.CreateRun(t.Context(), request)
	wantCode(t, err, connect.CodeInvalidArgument, "run_spec.envs[0].key", `"A=B" is not the name of an environment variable`)
	b.unchanged(before, "a task that cannot be")
}

func variables(key, value string) func(*core.Container) {
	return func(c *core.Container) { c.Env = []*core.KeyValuePair{{Key: key, Value: value}} }
}

// Some of what a task asks for is looked at when it is started. When that can never be, the task fails, once, and says why.
func TestTasksThatCannotStart(t *testing.T) {
	b := start(t)
	const climbing = "../../keys/url.key"
	secret := func(how core.Secret_MountType) func(*core.TaskTemplate) {
		return func(task *core.TaskTemplate) {
			task.SecurityContext = &core.SecurityContext{Secrets: []*core.Secret{{Key: climbing, MountRequirement: how}}}
		}
	}
	image := func(name string) func(*core.TaskTemplate) {
		return func(task *core.TaskTemplate) { task.GetContainer().Image = name }
	}
	command := func(words ...string) func(*core.TaskTemplate) {
		return func(task *core.TaskTemplate) { task.GetContainer().Command = words }
	}
	cases := map[string]struct {
		change func(*core.TaskTemplate)
		words  string
	}{
		"secret-file":     {secret(core.Secret_FILE), "security_context.secrets.key"},
		"secret-variable": {secret(core.Secret_ENV_VAR), "security_context.secrets.key"},
		"image-climbs":    {image("../../x"), "needs a container runtime"},
		"image-of-ours":   {image("biplane.local/../../keys:url.key"), "needs a container runtime"},
		"tag-of-ours":     {image("biplane.local/image:../../url"), "needs a container runtime"},
		"image-path":      {image("/etc/passwd"), "needs a container runtime"},
		"image-nul":       {image("ghcr.io/flyteorg/flyte:py3.12-v2.12.1\x00"), "is not released"},
		"no-image":        {image(""), "image: is empty"},
		"no-program":      {command(climbing), "does not exist"},
		"no-program-path": {command("no-such-program"), `no program "no-such-program" in PATH`},
		"a-folder":        {command("/"), "permission denied"},
		"too-long":        {command("sh", "-c", strings.Repeat("x", 4<<20)), "larger than the system allows"},
	}
	for run, test := range cases {
		spec := scriptSpec("echo it ran")
		spec.TaskTemplate.Metadata.Retries = &core.RetryStrategy{Retries: 3} // which would not help
		test.change(spec.GetTaskTemplate())
		b.create(createRequest(run, spec, nil))
	}
	for run, test := range cases {
		d := b.await(run, "a0")
		wantPhase(t, d, common.ActionPhase_ACTION_PHASE_FAILED)
		if d.GetErrorInfo().GetKind().String() != "KIND_USER" || len(d.GetAttempts()) != 1 {
			t.Errorf("%s: after %d attempts the fault of %s: %s", run, len(d.GetAttempts()), d.GetErrorInfo().GetKind(), d.GetErrorInfo().GetMessage())
		}
		wantWords(t, d.GetErrorInfo().GetMessage(), "the task cannot be started: ", test.words)
	}
}
