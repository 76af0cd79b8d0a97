package link_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
)

// TestEveryFieldOfTheLinkHasAClass walks everything that can be reached from the package's messages: a field of a message of
// another package has no class either, and fails.
func TestEveryFieldOfTheLinkHasAClass(t *testing.T) {
	t.Parallel()
	seen := map[protoreflect.FullName]bool{}
	fields := 0
	var walk func(protoreflect.MessageDescriptor)
	walk = func(message protoreflect.MessageDescriptor) {
		if seen[message.FullName()] {
			return
		}
		seen[message.FullName()] = true
		if message.ParentFile().Package() != "biplane.link.v1" {
			t.Errorf("%s crosses the link, but is not of its package: its fields have no class", message.FullName())
			return
		}
		for i := range message.Fields().Len() {
			field := message.Fields().Get(i)
			fields++
			class, _ := proto.GetExtension(field.Options(), linkv1.E_Class).(linkv1.Class)
			switch {
			case class == linkv1.Class_CLASS_UNSPECIFIED:
				t.Errorf("%s has no class", field.FullName())
			case field.IsMap():
				t.Errorf("%s is a map: its keys and values have no class", field.FullName())
			case field.Kind() == protoreflect.BytesKind && class != linkv1.Class_CLASS_SEALED:
				t.Errorf("%s is bytes of class %s; bytes that the control plane could read do not cross", field.FullName(), class)
			case class == linkv1.Class_CLASS_SEALED && field.Kind() != protoreflect.BytesKind:
				t.Errorf("%s is sealed, but not bytes", field.FullName())
			case class == linkv1.Class_CLASS_POINTER && field.Kind() != protoreflect.StringKind:
				t.Errorf("%s is a pointer, but not a string", field.FullName())
			}
			if field.Message() != nil && !field.IsMap() {
				walk(field.Message())
			}
		}
		for i := range message.Messages().Len() {
			walk(message.Messages().Get(i))
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("biplane.link.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Messages().Len() {
			walk(file.Messages().Get(i))
		}
		return true
	})
	if fields < 100 {
		t.Fatalf("only %d fields were seen", fields)
	}
}

func TestScrubClearsWhatDoesNotLookLikeItsClass(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*linkv1.ActionState)
		cleared string // the field's name; empty: the value stays
	}{
		"a name":                                  {func(a *linkv1.ActionState) { a.ShortName = "Größe ändern" }, ""},
		"a name of many lines":                    {func(a *linkv1.ActionState) { a.ShortName = "Traceback\n  File" }, "short_name"},
		"a name that is a page long":              {func(a *linkv1.ActionState) { a.ShortName = strings.Repeat("x", 257) }, "short_name"},
		"a code":                                  {func(a *linkv1.ActionState) { a.ErrorCode = "OOMKilled" }, ""},
		"a message in the place of a code":        {func(a *linkv1.ActionState) { a.ErrorCode = "division by zero" }, "error_code"},
		"a pointer":                               {func(a *linkv1.ActionState) { a.OutputsUri = "s3://bucket/a/b/outputs.pb" }, ""},
		"a signed URL":                            {func(a *linkv1.ActionState) { a.OutputsUri = "https://host/a?X-Amz-Signature=abc" }, "outputs_uri"},
		"a pointer with a password":               {func(a *linkv1.ActionState) { a.OutputsUri = "https://user:secret@host/a" }, "outputs_uri"},
		"inline data in place of a pointer":       {func(a *linkv1.ActionState) { a.OutputsUri = "data:text/plain,hello" }, "outputs_uri"},
		"a text in place of a pointer":            {func(a *linkv1.ActionState) { a.OutputsUri = "the result is 42" }, "outputs_uri"},
		"a name of a nested message is looked at": {func(a *linkv1.ActionState) { a.Task = &linkv1.TaskID{Name: "a\x00b"} }, "name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			action := &linkv1.ActionState{Id: &linkv1.ActionID{Name: "a0"}}
			c.change(action)
			before := proto.Clone(action)
			message := &linkv1.FromPlane{Message: &linkv1.FromPlane_Events{Events: &linkv1.Events{Events: []*linkv1.Event{{Seq: 1, Row: &linkv1.Event_Action{Action: action}}}}}}
			cleared := link.Scrub(message)
			if c.cleared == "" {
				if len(cleared) > 0 || !proto.Equal(before, action) {
					t.Errorf("cleared %v", cleared)
				}
				return
			}
			if len(cleared) != 1 || !strings.HasSuffix(cleared[0], "."+c.cleared) || proto.Equal(before, action) {
				t.Errorf("cleared %v, want %s; now %v", cleared, c.cleared, action)
			}
		})
	}
}

func TestScrubDropsFieldsThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	run := &linkv1.RunState{}
	run.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 999, protowire.BytesType), "a secret"))
	message := &linkv1.Event{Row: &linkv1.Event_Run{Run: run}}
	if cleared := link.Scrub(message); len(cleared) != 1 {
		t.Errorf("cleared %v", cleared)
	}
	raw, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "secret") {
		t.Error("the unknown field is still there")
	}
}
