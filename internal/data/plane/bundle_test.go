package plane_test

import (
	"testing"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/core"
)

// A client that remembers an upload to a plane whose state was removed names a bundle that is gone.
func TestRunWithoutItsCodeIsRefused(t *testing.T) {
	b := start(t)
	for name, uri := range map[string]string{
		"gone-here":  b.state + "/bucket/objects/uploads/flytesnacks/development/x/fast.tar.gz",
		"gone-there": "/nowhere/bucket/objects/uploads/flytesnacks/development/x/fast.tar.gz",
	} {
		spec := echoSpec()
		spec.TaskTemplate.Type = "python"
		spec.TaskTemplate.Target = &core.TaskTemplate_Container{Container: &core.Container{Args: []string{"a0", "--tgz", uri, "--dest", "."}}}
		before := b.snapshot()
		_, err := b.runs.CreateRun(t.Context(), createRequest(name, spec, echoInputs("x")))
		wantCode(t, err, connect.CodeFailedPrecondition, uri, "does not exist", "FLYTECTL_CONFIG")
		b.unchanged(before, name)
	}
}
