package taskspec

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
)

// InputsHash identifies the inputs of a root action by content, those left out that the task's cache ignores. A task's own
// code hashes the inputs of the children it calls in this way (flyte/_internal/runtime/convert.py,
// generate_filtered_inputs_hash), so a root and a child with the same inputs have the same cache key.
func InputsHash(inputs *task.Inputs, ignored []string) (string, error) {
	var content []byte
	for _, named := range inputs.GetLiterals() {
		if slices.Contains(ignored, named.GetName()) {
			continue
		}
		var err error
		content = append(append(content, named.GetName()...), ':')
		if content, err = appendContent(content, named.GetValue()); err != nil {
			return "", err
		}
		content = append(content, ';')
	}
	if len(content) == 0 {
		return "", nil
	}
	return hash(string(content)), nil
}

// appendContent appends what counts of a literal: its own hash where it brings one, in place of an address that changes
// with every upload; otherwise its bytes, the entries of maps in a fixed order.
func appendContent(content []byte, literal *core.Literal) ([]byte, error) {
	if literal.GetHash() != "" {
		return append(content, literal.GetHash()...), nil
	}
	var err error
	switch value := literal.GetValue().(type) {
	case *core.Literal_Collection:
		for _, item := range value.Collection.GetLiterals() {
			if content, err = appendContent(content, item); err != nil {
				return nil, err
			}
		}
		return content, nil
	case *core.Literal_Map:
		literals := value.Map.GetLiterals()
		for _, key := range slices.Sorted(maps.Keys(literals)) {
			if content, err = appendContent(append(content, key...), literals[key]); err != nil {
				return nil, err
			}
		}
		return content, nil
	case *core.Literal_Scalar:
		binary := value.Scalar.GetBinary()
		if binary.GetTag() != "msgpack" {
			break
		}
		if sorted, ok := sortMsgpack(binary.GetValue()); ok {
			literal = proto.CloneOf(literal)
			literal.GetScalar().GetBinary().Value = sorted
		}
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(content, literal)
}
