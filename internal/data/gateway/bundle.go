package gateway

import (
	"context"
	"os"
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
)

// codeBundle is where the code of a task lies, as the SDK wrote it into the specification; empty when the task brings none.
func codeBundle(spec *task.TaskSpec) string {
	if uri := spec.GetTaskTemplate().GetMetadata().GetCodeBundleUri(); uri != "" {
		return uri
	}
	args := spec.GetTaskTemplate().GetContainer().GetArgs()
	for i, arg := range args {
		if (arg == "--tgz" || arg == "--pkl") && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// checkBundle refuses a run whose code is not there. The SDK remembers for a day what it has uploaded, by the endpoint's
// name: after a plane's state was removed it goes on to name a bundle of the old one, and each task would fail far from the cause.
func (g *Gateway) checkBundle(ctx context.Context, spec *task.TaskSpec) error {
	uri := codeBundle(spec)
	var missing bool
	if key, err := g.Bucket.Key(uri); err == nil {
		_, err = g.Bucket.Stat(ctx, key)
		missing = fault.Is(err, fault.KindNotFound)
	} else if strings.HasPrefix(uri, "/") {
		_, err = os.Stat(uri)
		missing = os.IsNotExist(err)
	}
	if missing {
		return fault.New(fault.KindPrecondition, "the code bundle %s does not exist: the client remembers an upload to a plane whose state has been removed; "+
			"remove ~/.flyte/local-cache, or set FLYTECTL_CONFIG to the plane's flyte.yaml instead of --config, and run again", uri)
	}
	return nil
}
