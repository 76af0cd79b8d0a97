package link

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
)

// Longest text of each class, in bytes.
const (
	maxName    = 256
	maxState   = 64
	maxPointer = 1024
	maxSealed  = 64 << 10
)

// classes holds the class of every field of the package, by the field's full name.
var classes = func() map[protoreflect.FullName]linkv1.Class {
	all := map[protoreflect.FullName]linkv1.Class{}
	for _, file := range []protoreflect.FileDescriptor{linkv1.File_biplane_link_v1_state_proto, linkv1.File_biplane_link_v1_link_proto} {
		addClasses(all, file.Messages())
	}
	return all
}()

func addClasses(all map[protoreflect.FullName]linkv1.Class, messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		message := messages.Get(i)
		for j := range message.Fields().Len() {
			field := message.Fields().Get(j)
			all[field.FullName()] = proto.GetExtension(field.Options(), linkv1.E_Class).(linkv1.Class)
		}
		addClasses(all, message.Messages())
	}
}

// Scrub clears every text of the message that does not look like its field's class, and every field that this version does
// not know, and returns the names of the fields that it cleared (never their values). It is the last thing that
// happens before a message is sent and the first after one came in: a mistake elsewhere costs a blank column, not a secret.
func Scrub(message proto.Message) []string {
	var cleared []string
	scrub(message.ProtoReflect(), &cleared)
	return cleared
}

func scrub(message protoreflect.Message, cleared *[]string) {
	if len(message.GetUnknown()) > 0 {
		message.SetUnknown(nil)
		*cleared = append(*cleared, string(message.Descriptor().FullName())+".(unknown)")
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		fits := true
		switch {
		case field.IsMap():
			fits = false // none is allowed: a map's key and value fields have no class
		case field.IsList():
			list := value.List()
			for i := range list.Len() {
				fits = fits && scrubValue(field, list.Get(i), cleared)
			}
		default:
			fits = scrubValue(field, value, cleared)
		}
		if !fits {
			message.Clear(field)
			*cleared = append(*cleared, string(field.FullName()))
		}
		return true
	})
}

func scrubValue(field protoreflect.FieldDescriptor, value protoreflect.Value, cleared *[]string) bool {
	class := classes[field.FullName()]
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		scrub(value.Message(), cleared)
		return class != linkv1.Class_CLASS_UNSPECIFIED
	case protoreflect.StringKind:
		return textFits(class, value.String())
	case protoreflect.BytesKind:
		return class == linkv1.Class_CLASS_SEALED && len(value.Bytes()) <= maxSealed
	default:
		return class != linkv1.Class_CLASS_UNSPECIFIED
	}
}

func textFits(class linkv1.Class, text string) bool {
	switch class {
	case linkv1.Class_CLASS_NAME:
		return len(text) <= maxName && utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	case linkv1.Class_CLASS_STATE:
		return len(text) <= maxState && strings.IndexFunc(text, func(r rune) bool { return !codeRune(r) }) < 0
	case linkv1.Class_CLASS_POINTER:
		return pointerFits(text)
	default:
		return false
	}
}

func codeRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:+-", r)
}

// pointerFits refuses what could let the reader in: credentials, and the query of a signed URL.
func pointerFits(text string) bool {
	if len(text) > maxPointer {
		return false
	}
	uri, err := url.Parse(text)
	return err == nil && uri.Scheme != "" && uri.User == nil && uri.RawQuery == "" && !uri.ForceQuery && uri.Fragment == "" && uri.Opaque == ""
}
