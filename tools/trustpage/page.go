package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
)

// sent are the messages that a data plane can send, in the order in which they are met from the outermost.
func sent() (messages []protoreflect.MessageDescriptor) {
	var walk func(protoreflect.MessageDescriptor)
	walk = func(message protoreflect.MessageDescriptor) {
		if slices.Contains(messages, message) {
			return
		}
		messages = append(messages, message)
		for i := range message.Fields().Len() {
			if inner := message.Fields().Get(i).Message(); inner != nil {
				walk(inner)
			}
		}
	}
	walk((&linkv1.FromPlane{}).ProtoReflect().Descriptor())
	return messages
}

// comments are what the .proto files below a folder say of messages and fields, by full name: descriptors in a program have
// no comments.
func comments(protos string) (map[protoreflect.FullName]string, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{protos}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	root, err := compiler.Compile(context.Background(), linkv1.File_biplane_link_v1_link_proto.Path())
	if err != nil {
		return nil, err
	}
	said := map[protoreflect.FullName]string{}
	note := func(d protoreflect.Descriptor) {
		said[d.FullName()] = strings.Join(strings.Fields(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments), " ")
	}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(message protoreflect.MessageDescriptor) {
		if _, seen := said[message.FullName()]; seen {
			return
		}
		note(message)
		for i := range message.Fields().Len() {
			field := message.Fields().Get(i)
			note(field)
			if field.Message() != nil {
				walk(field.Message())
			}
		}
	}
	walk(root[0].Messages().ByName("FromPlane"))
	return said, nil
}

// table is the part of the page that is generated. Its error names everything of which something is not said.
func table(messages []protoreflect.MessageDescriptor, said map[protoreflect.FullName]string) (string, error) {
	var out strings.Builder
	var problems []error
	known := map[protoreflect.Name]bool{}
	for _, message := range messages {
		known[message.Name()] = true
		reason, ok := reasons[message.Name()]
		if !ok {
			problems = append(problems, fmt.Errorf("say in tools/trustpage/reasons.go why %s leaves the account, and how to check it", message.Name()))
		}
		fmt.Fprintf(&out, "### %s\n\n%s\n\n- Why it leaves: %s\n- How to check: %s\n\n", message.Name(), said[message.FullName()], reason.why, reason.check)
		if message.Fields().Len() == 0 {
			continue
		}
		out.WriteString("| field | class | example | what it is |\n|---|---|---|---|\n")
		for i := range message.Fields().Len() {
			line, err := row(message.Fields().Get(i), said)
			problems = append(problems, err)
			out.WriteString(line)
		}
		out.WriteString("\n")
	}
	for name := range reasons {
		if !known[name] {
			problems = append(problems, fmt.Errorf("tools/trustpage/reasons.go speaks of %s, which no data plane can send", name))
		}
	}
	return out.String(), errors.Join(problems...)
}

func row(field protoreflect.FieldDescriptor, said map[protoreflect.FullName]string) (string, error) {
	class := proto.GetExtension(field.Options(), linkv1.E_Class).(linkv1.Class)
	if class == linkv1.Class_CLASS_UNSPECIFIED {
		return "", fmt.Errorf("%s has no class", field.FullName())
	}
	example, err := exampleOf(field)
	if field.IsList() {
		example += ", …"
	}
	what := said[field.FullName()]
	if what == "" && field.Enum() != nil {
		what = "One of: " + strings.Join(values(field.Enum()), ", ") + "."
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", field.Name(), strings.TrimPrefix(class.String(), "CLASS_"), example, strings.ReplaceAll(what, "|", `\|`)), err
}

// exampleOf shows what stands in a field. Numbers, enums and messages speak for themselves; of text it must be said.
func exampleOf(field protoreflect.FieldDescriptor) (string, error) {
	for _, name := range []string{string(field.ContainingMessage().Name()) + "." + string(field.Name()), string(field.Name())} {
		if example := examples[name]; example != "" && field.Message() == nil {
			return "`" + example + "`", nil
		}
	}
	switch field.Kind() {
	case protoreflect.MessageKind:
		return "see " + string(field.Message().Name()), nil
	case protoreflect.EnumKind:
		all := values(field.Enum())
		return "`" + all[min(1, len(all)-1)] + "`", nil
	case protoreflect.BoolKind:
		return "`true`", nil
	case protoreflect.StringKind, protoreflect.BytesKind:
		return "", fmt.Errorf("give in tools/trustpage/reasons.go an example of %s", field.FullName())
	}
	switch name := string(field.Name()); {
	case strings.HasSuffix(name, "_us"):
		return "`1772360000000000`", nil
	case strings.Contains(name, "bytes"):
		return "`1073741824`", nil
	}
	return "`3`", nil
}

// values are the names of an enum's values without the prefix that they share, in the order of their numbers.
func values(enum protoreflect.EnumDescriptor) (names []string) {
	zero := string(enum.Values().Get(0).Name())
	prefix := zero[:strings.LastIndexByte(zero, '_')+1]
	for i := range enum.Values().Len() {
		names = append(names, strings.TrimPrefix(string(enum.Values().Get(i).Name()), prefix))
	}
	return names
}
