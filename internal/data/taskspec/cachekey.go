package taskspec

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
)

// CacheKey is the root action's cache key; children bring theirs. The formula is the SDK's
// (flyte/_internal/runtime/convert.py, generate_cache_key_hash), so that a root and a child with the same inputs share an
// entry. inputsHash is that of InputsHash, or the client's own. Empty when the task is not cached.
func CacheKey(spec *task.TaskSpec, inputsHash string) (string, error) {
	template := spec.GetTaskTemplate()
	if !template.GetMetadata().GetDiscoverable() {
		return "", nil
	}
	sorted := &core.TypedInterface{}
	if template.GetInterface() != nil {
		sorted = proto.CloneOf(template.GetInterface())
	}
	for _, variables := range []*core.VariableMap{sorted.GetInputs(), sorted.GetOutputs()} {
		if variables != nil {
			slices.SortStableFunc(variables.Variables, func(a, b *core.VariableEntry) int { return strings.Compare(a.GetKey(), b.GetKey()) })
		}
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(sorted)
	if err != nil {
		return "", err
	}
	return hash(inputsHash + template.GetId().GetName() + hash(string(raw)) + template.GetMetadata().GetDiscoveryVersion()), nil
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}
