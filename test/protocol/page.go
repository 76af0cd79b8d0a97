package protocol

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// page is docs/protocol.md, from the tables and the descriptors of the installed package. Problems are what the tables get
// wrong: a method that is not there, or not in the table; a field that the request does not have; a reason that is missing.
func page(version string, theirs []protoreflect.ServiceDescriptor) (text string, problems []string) {
	var out strings.Builder
	fmt.Fprintf(&out, `# The protocol

What becomes of each call that flyteidl2 %s knows. Written by the tests in test/protocol from the table there; do not edit.
The messages of what is served are those of flyteidl2, field by field: a test compares them with the installed package.

A method that is not served answers UNIMPLEMENTED. Every other one is served over Connect, gRPC and gRPC-Web.
`, version)

	known := map[string]bool{}
	var later strings.Builder
	for _, service := range slices.SortedFunc(slices.Values(theirs), func(a, b protoreflect.ServiceDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	}) {
		name := string(service.FullName())
		known[name] = true
		table, mounted := services[name]
		why, left := absent[name]
		switch {
		case mounted && left:
			problems = append(problems, name+" is in both tables")
		case mounted:
			problems = append(problems, writeService(&out, service, table)...)
		case left:
			if why == "" {
				problems = append(problems, name+": say why it is not served")
			}
			fmt.Fprintf(&later, "| %s | %s | %s |\n", name, strings.Join(methodNames(service), ", "), why)
		default:
			problems = append(problems, name+" is in neither table")
		}
	}
	fmt.Fprintf(&out, "\n## Services that are not served\n\n| service | methods | why |\n|---|---|---|\n%s", later.String())
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if !known[name] {
			problems = append(problems, name+" is in the table, and flyteidl2 does not have it")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(absent)) {
		if !known[name] {
			problems = append(problems, name+" is in the table, and flyteidl2 does not have it")
		}
	}
	return out.String(), problems
}

func methodNames(service protoreflect.ServiceDescriptor) []string {
	var names []string
	for i := range service.Methods().Len() {
		names = append(names, string(service.Methods().Get(i).Name()))
	}
	return names
}

func writeService(out *strings.Builder, service protoreflect.ServiceDescriptor, table Service) (problems []string) {
	fmt.Fprintf(out, "\n## %s\n\n| method | status | notes |\n|---|---|---|\n", service.FullName())
	names := methodNames(service)
	for _, name := range names {
		method, ok := table[name]
		where := fmt.Sprintf("%s.%s", service.FullName(), name)
		if !ok {
			problems = append(problems, where+" is not in the table")
			continue
		}
		if method.Status == NotServed && method.Note == "" {
			problems = append(problems, where+": say why it is not served")
		}
		if (method.Status == Partly) != (len(method.Ignored) > 0) {
			problems = append(problems, where+": exactly the methods that are partly served ignore fields")
		}
		note := method.Note
		for _, path := range slices.Sorted(maps.Keys(method.Ignored)) {
			if !hasField(service.Methods().ByName(protoreflect.Name(name)).Input(), path) {
				problems = append(problems, fmt.Sprintf("%s: the request has no field %s", where, path))
			}
			if note != "" {
				note += "; "
			}
			note += fmt.Sprintf("ignores `%s`: %s", path, method.Ignored[path])
		}
		fmt.Fprintf(out, "| %s | %s | %s |\n", name, method.Status, note)
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !slices.Contains(names, name) {
			problems = append(problems, fmt.Sprintf("%s.%s is in the table, and flyteidl2 does not have it", service.FullName(), name))
		}
	}
	return problems
}

// hasField reports whether a path of field names leads from a message to a field.
func hasField(message protoreflect.MessageDescriptor, path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if message == nil {
			return false
		}
		field := message.Fields().ByName(protoreflect.Name(name))
		if field == nil {
			return false
		}
		message = field.Message()
	}
	return true
}
