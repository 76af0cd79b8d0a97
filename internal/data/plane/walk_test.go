package plane_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// method is an RPC as its descriptor says it.
type method struct{ protoreflect.MethodDescriptor }

func (m method) path() string { return "/" + string(m.Parent().FullName()) + "/" + string(m.Name()) }

// served is every RPC that the gateway answers with anything else than UNIMPLEMENTED, found through the descriptors that are
// linked in: a service or a method added later is among them.
func (b *bench) served() (found []method) {
	b.Helper()
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			if !strings.HasPrefix(string(service.FullName()), "flyteidl2.") && !strings.HasPrefix(string(service.FullName()), "biplane.") {
				continue // standard health and reflection
			}
			for j := range service.Methods().Len() {
				m := method{service.Methods().Get(j)}
				if b.call(m, newMessage(m.Input()), 300*time.Millisecond).code != "unimplemented" {
					found = append(found, m)
				}
			}
		}
		return true
	})
	slices.SortFunc(found, func(a, b method) int { return strings.Compare(a.path(), b.path()) })
	return found
}

func newMessage(d protoreflect.MessageDescriptor) protoreflect.Message {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err) // the descriptor is linked in, and so is its type
	}
	return kind.New()
}

// way leads from a request to a string in it, field by field. The field after a map is that of its key or value.
type way []protoreflect.FieldDescriptor

func (w way) String() string {
	names := make([]string, len(w))
	for i, field := range w {
		names[i] = string(field.Name())
	}
	return strings.Join(names, ".")
}

func (w way) last() protoreflect.FieldDescriptor { return w[len(w)-1] }

// strings lists the ways to all strings in messages of a type. A type within itself is not entered again.
func stringsIn(d protoreflect.MessageDescriptor, visit func(way)) {
	open := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor, way)
	walk = func(d protoreflect.MessageDescriptor, before way) {
		if open[d.FullName()] {
			return
		}
		open[d.FullName()] = true
		defer delete(open, d.FullName())
		for i := range d.Fields().Len() {
			field := d.Fields().Get(i)
			here := append(slices.Clone(before), field)
			switch {
			case field.Kind() == protoreflect.StringKind:
				visit(here)
			case field.Message() != nil:
				walk(field.Message(), here)
			}
		}
	}
	walk(d, nil)
}

// put sets the string at the end of a way, and makes the messages on the way from the samples.
func put(m protoreflect.Message, w way, value string) {
	field, rest := w[0], w[1:]
	switch {
	case field.IsMap():
		entries := m.Mutable(field).Map()
		key := protoreflect.ValueOfString("k").MapKey()
		switch {
		case rest[0].Number() == 1:
			entries.Set(protoreflect.ValueOfString(value).MapKey(), entries.NewValue())
		case len(rest) == 1:
			entries.Set(key, protoreflect.ValueOfString(value))
		default:
			put(entries.Mutable(key).Message(), rest[1:], value)
		}
	case field.IsList() && field.Message() == nil:
		list := m.Mutable(field).List()
		list.Truncate(0)
		list.Append(protoreflect.ValueOfString(value))
	case field.IsList():
		list := m.Mutable(field).List()
		if list.Len() == 0 {
			list.Append(protoreflect.ValueOfMessage(sample(field.Message())))
		}
		put(list.Get(0).Message(), rest, value)
	case field.Message() != nil:
		if !m.Has(field) {
			m.Set(field, protoreflect.ValueOfMessage(sample(field.Message())))
		}
		put(m.Mutable(field).Message(), rest, value)
	default:
		m.Set(field, protoreflect.ValueOfString(value))
	}
}

// answer is what a client is told.
type answer struct {
	code string // of Connect; "" for a message, "open" for a stream that says nothing
	text string
}

// call sends a request as it is, by hand: the clients of this program would refuse some of what is to be sent. A stream is read up
// to its first message, for as long as wait says.
func (b *bench) call(m method, request protoreflect.Message, wait time.Duration) answer {
	b.Helper()
	body, err := proto.Marshal(request.Interface())
	if err != nil {
		b.Fatalf("%s: %v", m.path(), err)
	}
	kind := "application/proto"
	if m.IsStreamingServer() {
		kind, body = "application/connect+proto", append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	if !m.IsStreamingServer() {
		wait = patience
	}
	ctx, cancel := context.WithTimeout(b.Context(), wait)
	defer cancel()
	status, content, err := b.send(ctx, http.MethodPost, m.path(), body, "Content-Type: "+kind, "Connect-Protocol-Version: 1")
	if errors.Is(err, context.DeadlineExceeded) && m.IsStreamingServer() {
		return answer{code: "open"}
	}
	if err != nil {
		b.Fatalf("%s: %v", m.path(), err)
	}
	failure := struct{ Code, Message string }{}
	switch {
	case !m.IsStreamingServer() && status == http.StatusOK:
		return answer{}
	case m.IsStreamingServer() && len(content) > 5 && content[0]&2 != 0: // the end of the stream comes first
		end := struct {
			Error *struct{ Code, Message string }
		}{Error: &failure}
		err = json.Unmarshal(content[5:], &end)
	case m.IsStreamingServer() && status == http.StatusOK:
		return answer{}
	case status == http.StatusNotFound && !strings.HasPrefix(string(content), "{"):
		failure.Code = "unimplemented" // no such service
	default:
		err = json.Unmarshal(content, &failure)
	}
	if err != nil {
		b.Fatalf("%s answered %d %q: %v", m.path(), status, content, err)
	}
	return answer{code: failure.Code, text: failure.Message}
}

// send makes a plain HTTP request. Of a body that does not end within ctx it returns what has come, and no error when that is
// something.
func (b *bench) send(ctx context.Context, verb, path string, body []byte, headers ...string) (int, []byte, error) {
	b.Helper()
	request, err := http.NewRequestWithContext(ctx, verb, b.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := b.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "application/connect+") {
		content, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		return response.StatusCode, content, err
	}
	first := make([]byte, 5)
	if _, err := io.ReadFull(response.Body, first); err != nil {
		return response.StatusCode, nil, fmt.Errorf("the first message of a stream: %w", err)
	}
	content := make([]byte, min(binary.BigEndian.Uint32(first[1:]), 1<<20))
	_, err = io.ReadFull(response.Body, content)
	return response.StatusCode, append(first, content...), err
}
