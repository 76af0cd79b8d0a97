package protocol

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// facts is what of a file matters to the other side of a wire: by full name, in words that can be compared.
type facts map[string]string

// compare lists the differences between a file of ours and theirs of the same path, one line each, sorted.
func compare(ours, theirs protoreflect.FileDescriptor) []string {
	have, want := factsOf(ours), factsOf(theirs)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch got, ok := have[name]; {
		case !ok:
			out = append(out, fmt.Sprintf("%s: %s is missing: %s", ours.Path(), name, want[name]))
		case got != want[name]:
			out = append(out, fmt.Sprintf("%s: %s is %s, want %s", ours.Path(), name, got, want[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			out = append(out, fmt.Sprintf("%s: %s is ours alone: %s", ours.Path(), name, have[name]))
		}
	}
	return out
}

func factsOf(file protoreflect.FileDescriptor) facts {
	f := facts{"package": fmt.Sprintf("%s, %s", file.Package(), file.Syntax())}
	f.addEnums(file.Enums())
	f.addMessages(file.Messages())
	for i := range file.Services().Len() {
		service := file.Services().Get(i)
		f[string(service.FullName())] = "service"
		for j := range service.Methods().Len() {
			m := service.Methods().Get(j)
			f[string(m.FullName())] = fmt.Sprintf("rpc(%s) returns (%s)",
				streamed(m.IsStreamingClient(), m.Input()), streamed(m.IsStreamingServer(), m.Output()))
		}
	}
	for i := range file.Extensions().Len() {
		// Options annotate .proto files and are never sent; ours have none.
		if field := file.Extensions().Get(i); field.ContainingMessage().ParentFile().Path() != "google/protobuf/descriptor.proto" {
			f.addField(field)
		}
	}
	return f
}

func streamed(stream bool, message protoreflect.MessageDescriptor) string {
	if stream {
		return "stream " + string(message.FullName())
	}
	return string(message.FullName())
}

func (f facts) addEnums(enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		enum := enums.Get(i)
		f[string(enum.FullName())] = "enum"
		for j := range enum.Values().Len() {
			value := enum.Values().Get(j)
			// By the protobuf rules a value's full name is a sibling of its enum's; say which enum it is of.
			f[string(enum.FullName()+"."+protoreflect.FullName(value.Name()))] = fmt.Sprintf("value %d", value.Number())
		}
	}
}

func (f facts) addMessages(messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		message := messages.Get(i)
		f[string(message.FullName())] = "message"
		for j := range message.Fields().Len() {
			f.addField(message.Fields().Get(j))
		}
		f.addEnums(message.Enums())
		f.addMessages(message.Messages())
	}
}

func (f facts) addField(field protoreflect.FieldDescriptor) {
	kind := field.Kind().String()
	if message := field.Message(); message != nil {
		kind = string(message.FullName())
	}
	if enum := field.Enum(); enum != nil {
		kind = string(enum.FullName())
	}
	text := fmt.Sprintf("%s %s = %d, json %s", field.Cardinality(), kind, field.Number(), field.JSONName())
	switch oneof := field.ContainingOneof(); {
	case oneof != nil && !oneof.IsSynthetic():
		text += ", in oneof " + string(oneof.Name())
	case field.HasOptionalKeyword():
		text += ", optional keyword"
	}
	if field.IsPacked() {
		text += ", packed"
	}
	f[string(field.FullName())] = text
}
