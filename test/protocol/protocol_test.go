package protocol

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "biplane.dev/biplane/gen/flyteidl2/actions"
	_ "biplane.dev/biplane/gen/flyteidl2/app"
	_ "biplane.dev/biplane/gen/flyteidl2/auth"
	_ "biplane.dev/biplane/gen/flyteidl2/cluster"
	_ "biplane.dev/biplane/gen/flyteidl2/common"
	_ "biplane.dev/biplane/gen/flyteidl2/core"
	_ "biplane.dev/biplane/gen/flyteidl2/dataproxy"
	_ "biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	_ "biplane.dev/biplane/gen/flyteidl2/logs/dataplane"
	_ "biplane.dev/biplane/gen/flyteidl2/notification"
	_ "biplane.dev/biplane/gen/flyteidl2/project"
	_ "biplane.dev/biplane/gen/flyteidl2/secret"
	_ "biplane.dev/biplane/gen/flyteidl2/settings"
	_ "biplane.dev/biplane/gen/flyteidl2/task"
	_ "biplane.dev/biplane/gen/flyteidl2/trigger"
	_ "biplane.dev/biplane/gen/flyteidl2/workflow"
)

const root = "../.."

var update = flag.Bool("update", false, "write docs/protocol.md")

// installed are the descriptors of the flyteidl2 package beside the SDK.
var installed = sync.OnceValues(func() (*protoregistry.Files, error) {
	python := os.Getenv("BIPLANE_PYTHON")
	if python == "" {
		python = filepath.Join(root, ".venv/bin/python")
	}
	var stderr bytes.Buffer
	command := exec.Command(python, filepath.Join(root, "tools/idl/print_descriptors.py"))
	command.Stderr = &stderr
	data, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("read the installed flyteidl2 (make venv installs it): %w\n%s", err, &stderr)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(&set)
})

func theirs(t *testing.T) *protoregistry.Files {
	t.Helper()
	files, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// ours are the files that the generated code registers.
func ours(t *testing.T) []protoreflect.FileDescriptor {
	t.Helper()
	var files []protoreflect.FileDescriptor
	gen := filepath.Join(root, "gen")
	err := filepath.WalkDir(gen, func(path string, entry fs.DirEntry, err error) error {
		name, isProto := strings.CutSuffix(path, ".pb.go")
		if err != nil || !isProto || !strings.HasPrefix(path, filepath.Join(gen, "flyteidl2")) {
			return err
		}
		rel, err := filepath.Rel(gen, name+".proto")
		if err != nil {
			return err
		}
		file, err := protoregistry.GlobalFiles.FindFileByPath(filepath.ToSlash(rel))
		if err != nil {
			return fmt.Errorf("%w (import its package in this test)", err)
		}
		files = append(files, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no generated file was found")
	}
	return files
}

// Every file that we have says the same as the SDK's file of that name: a message of one is a message of the other.
func TestOursIsTheirs(t *testing.T) {
	t.Parallel()
	want := theirs(t)
	for _, file := range ours(t) {
		other, err := want.FindFileByPath(file.Path())
		if err != nil {
			t.Errorf("%s: flyteidl2 does not have it", file.Path())
			continue
		}
		for _, difference := range compare(file, other) {
			t.Error(difference)
		}
	}
}

// The comparison sees each kind of difference, in words that say what differs.
func TestCompareSeesDifferences(t *testing.T) {
	t.Parallel()
	original, err := theirs(t).FindFileByPath("flyteidl2/actions/actions_service.proto")
	if err != nil {
		t.Fatal(err)
	}
	message := func(file *descriptorpb.FileDescriptorProto, name string) *descriptorpb.DescriptorProto {
		for _, m := range file.GetMessageType() {
			if m.GetName() == name {
				return m
			}
		}
		t.Fatalf("no message %s", name)
		return nil
	}
	for name, test := range map[string]struct {
		change func(*descriptorpb.FileDescriptorProto)
		want   string
	}{
		"number": {func(f *descriptorpb.FileDescriptorProto) {
			message(f, "SignalRequest").Field[1].Number = proto.Int32(9)
		}, "SignalRequest.parent_action_name is optional string = 9"},
		"type": {func(f *descriptorpb.FileDescriptorProto) {
			message(f, "SignalRequest").Field[1].Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
		}, "parent_action_name is optional bytes"},
		"message type": {func(f *descriptorpb.FileDescriptorProto) {
			message(f, "SignalRequest").Field[2].TypeName = proto.String(".flyteidl2.core.LiteralMap")
		}, "SignalRequest.value is optional flyteidl2.core.LiteralMap"},
		"label": {func(f *descriptorpb.FileDescriptorProto) {
			message(f, "SignalRequest").Field[1].Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}, "parent_action_name is repeated string"},
		"json name": {func(f *descriptorpb.FileDescriptorProto) {
			message(f, "SignalRequest").Field[1].JsonName = proto.String("parent")
		}, "json parent, want"},
		"oneof": {func(f *descriptorpb.FileDescriptorProto) {
			m := message(f, "WatchForUpdatesRequest")
			m.Field[0].OneofIndex, m.OneofDecl = nil, nil
		}, "want optional flyteidl2.common.ActionIdentifier = 1, json parentActionId, in oneof filter"},
		"name of a oneof": {func(f *descriptorpb.FileDescriptorProto) {
			message(f, "WatchForUpdatesRequest").OneofDecl[0].Name = proto.String("sieve")
		}, "in oneof sieve, want"},
		"presence": {func(f *descriptorpb.FileDescriptorProto) {
			m := message(f, "AbortRequest")
			m.Field[1].Proto3Optional, m.Field[1].OneofIndex = nil, nil
			m.Field[2].OneofIndex, m.OneofDecl = proto.Int32(0), m.OneofDecl[1:]
		}, "AbortRequest.reason is optional string = 2, json reason, want optional string = 2, json reason, optional keyword"},
		"field missing": {func(f *descriptorpb.FileDescriptorProto) {
			m := message(f, "SignalRequest")
			m.Field = append(m.Field[:2:2], m.Field[3:]...)
		}, "SignalRequest.value is missing"},
		"field too many": {func(f *descriptorpb.FileDescriptorProto) {
			m := message(f, "EnqueueResponse")
			m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
				Name: proto.String("extra"), Number: proto.Int32(1), JsonName: proto.String("extra"),
				Type: descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			})
		}, "EnqueueResponse.extra is ours alone"},
		"message too many": {func(f *descriptorpb.FileDescriptorProto) {
			f.MessageType = append(f.MessageType, &descriptorpb.DescriptorProto{Name: proto.String("Extra")})
		}, "actions.Extra is ours alone"},
		"enum": {func(f *descriptorpb.FileDescriptorProto) {
			f.EnumType = append(f.EnumType, &descriptorpb.EnumDescriptorProto{Name: proto.String("Mood"), Value: []*descriptorpb.EnumValueDescriptorProto{
				{Name: proto.String("GLAD"), Number: proto.Int32(0)},
			}})
		}, "actions.Mood.GLAD is ours alone: value 0"},
		"method missing": {func(f *descriptorpb.FileDescriptorProto) {
			f.Service[0].Method = f.Service[0].Method[1:]
		}, "ActionsService.Enqueue is missing: rpc("},
		"stream": {func(f *descriptorpb.FileDescriptorProto) {
			f.Service[0].Method[1].ServerStreaming = nil
		}, "returns (flyteidl2.actions.WatchForUpdatesResponse), want"},
		"package": {func(f *descriptorpb.FileDescriptorProto) {
			f.Service, f.MessageType, f.EnumType, f.Package = nil, nil, nil, proto.String("flyteidl3.actions")
		}, "package is flyteidl3.actions"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := protodesc.ToFileDescriptorProto(original)
			test.change(changed)
			file, err := protodesc.NewFile(changed, theirs(t))
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(compare(file, original), "\n"); !strings.Contains(all, test.want) {
				t.Errorf("differences:\n%s\nwant %q among them", all, test.want)
			}
		})
	}
	if same := compare(original, original); len(same) > 0 {
		t.Errorf("a file differs from itself: %v", same)
	}
}

// serviceDescriptors are all services of the installed package.
func serviceDescriptors(t *testing.T) (out []protoreflect.ServiceDescriptor) {
	t.Helper()
	theirs(t).RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			if strings.HasPrefix(file.Path(), "flyteidl2/") {
				out = append(out, file.Services().Get(i))
			}
		}
		return true
	})
	return out
}

// pinned is the version of flyteidl2 that tools/requirements.txt asks for.
func pinned(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "tools/requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^flyteidl2==(\S+)`).FindSubmatch(data)
	if match == nil {
		t.Fatal("tools/requirements.txt does not pin flyteidl2")
	}
	return string(match[1])
}

func TestPage(t *testing.T) {
	t.Parallel()
	text, problems := page(pinned(t), serviceDescriptors(t))
	for _, problem := range problems {
		t.Error(problem)
	}
	path := filepath.Join(root, "docs/protocol.md")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if string(have) != text {
		t.Error("docs/protocol.md is not what the table says; run: go test ./test/protocol -run TestPage -update")
	}
}

func TestHasField(t *testing.T) {
	t.Parallel()
	descriptor, err := theirs(t).FindDescriptorByName("flyteidl2.workflow.CreateRunRequest")
	if err != nil {
		t.Fatal(err)
	}
	message := descriptor.(protoreflect.MessageDescriptor)
	for path, want := range map[string]bool{"run_spec": true, "run_spec.labels": true, "run_spec.no": false, "no": false, "": false, "run_id.name.x": false} {
		if hasField(message, path) != want {
			t.Errorf("hasField(%q) is %v", path, !want)
		}
	}
}
