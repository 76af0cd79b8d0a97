package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
)

const root = "../.."

func TestThePageIsWhatTheDescriptorsSay(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, pagePath))
	if err != nil {
		t.Fatal(err)
	}
	want, err := renew(page, filepath.Join(root, "proto"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, want) {
		t.Errorf("%s is not what the descriptors say; run: go run ./tools/trustpage", pagePath)
	}
	// What the link scrubs by is what the page tells of: nothing that can be sent is missing.
	for _, text := range []string{"### RunState", "| `error_code` | STATE | `ValueError` |", "| `inputs_uri` | POINTER |", "| `created_by` | NAME |", "| `attempt` | STATE | see AttemptState |"} {
		if !strings.Contains(string(want), text) {
			t.Errorf("the table does not say %q", text)
		}
	}
	if strings.Contains(string(want), "### AbortRun") {
		t.Error("the table tells of what only the control plane sends")
	}
}

// A message or a field that is new must not get onto the page, or past it, without a word.
func TestWhatIsNotExplainedFails(t *testing.T) {
	t.Parallel()
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, class linkv1.Class) *descriptorpb.FieldDescriptorProto {
		options := &descriptorpb.FieldOptions{}
		if class != linkv1.Class_CLASS_UNSPECIFIED {
			proto.SetExtension(options, linkv1.E_Class, class)
		}
		return &descriptorpb.FieldDescriptorProto{Name: proto.String(name), Number: proto.Int32(number), Type: kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Options: options}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("new.proto"), Package: proto.String("biplane.link.v1.test"), Syntax: proto.String("proto3"),
		Dependency: []string{linkv1.File_biplane_link_v1_class_proto.Path()},
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Stranger"), Field: []*descriptorpb.FieldDescriptorProto{
			field("novel", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING, linkv1.Class_CLASS_NAME),
			field("bare", 2, descriptorpb.FieldDescriptorProto_TYPE_INT64, linkv1.Class_CLASS_UNSPECIFIED),
		}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	_, err = table(append(sent(), file.Messages().Get(0)), map[protoreflect.FullName]string{})
	if err == nil {
		t.Fatal("nothing was wrong with a message that nobody has explained")
	}
	for _, words := range []string{"why Stranger leaves", "an example of biplane.link.v1.test.Stranger.novel", "biplane.link.v1.test.Stranger.bare has no class"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the error does not say %q: %v", words, err)
		}
	}
	if _, err := table(nil, nil); err == nil || !strings.Contains(err.Error(), "which no data plane can send") {
		t.Errorf("reasons for nothing: %v", err)
	}
}

func TestAPageWithoutMarksIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := renew([]byte("# Trust\n"), filepath.Join(root, "proto")); err == nil {
		t.Error("a page without marks was written")
	}
}
