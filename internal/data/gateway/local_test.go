package gateway

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
)

// localGateway knows one raw data prefix.
func localGateway() *Gateway {
	return &Gateway{Config: Config{Local: func(uri string) string {
		if rest, ok := strings.CutPrefix(uri, "s3://biplane/raw/"); ok {
			return "/bucket/" + rest
		}
		return uri
	}}}
}

func encoded(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := msgp.AppendIntf(nil, value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestLocaliseMessagePack(t *testing.T) {
	t.Parallel()
	g := localGateway()
	file := func(path string) map[string]any { return map[string]any{"path": path} }
	for _, c := range []struct {
		name      string
		in, wants any
	}{
		{"file", file("s3://biplane/raw/a"), file("/bucket/a")},
		{"frame", map[string]any{"uri": "s3://biplane/raw/a"}, map[string]any{"uri": "local:///bucket/a"}},
		{"deep", []any{map[string]any{"x": []any{file("s3://biplane/raw/ä")}}}, []any{map[string]any{"x": []any{file("/bucket/ä")}}}},
		{"another store", file("s3://theirs/a"), file("s3://theirs/a")},
		{"text that is no address of a file", map[string]any{"note": "s3://biplane/raw/a"}, map[string]any{"note": "s3://biplane/raw/a"}},
		{"long", file("s3://biplane/raw/" + strings.Repeat("x", 300)), file("/bucket/" + strings.Repeat("x", 300))},
	} {
		if got, want := g.localiseMessagePack(encoded(t, c.in)), encoded(t, c.wants); !bytes.Equal(got, want) {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
	// All kinds of values come through unchanged.
	kinds := msgp.AppendMapHeader(nil, 2)
	kinds = msgp.AppendString(kinds, "all")
	kinds = msgp.AppendArrayHeader(kinds, 7)
	kinds = msgp.AppendNil(kinds)
	kinds = msgp.AppendBool(kinds, true)
	kinds = msgp.AppendInt64(kinds, -1<<62)
	kinds = msgp.AppendFloat64(kinds, 0.1)
	kinds = msgp.AppendFloat32(kinds, 0.1)
	kinds = msgp.AppendBytes(kinds, []byte("s3://biplane/raw/a"))
	kinds = msgp.AppendTimeExt(kinds, time.Unix(0, 0))
	kinds = msgp.AppendInt(kinds, 5) // a key that is no text
	kinds = msgp.AppendString(kinds, "s3://biplane/raw/a")
	if got := g.localiseMessagePack(kinds); !bytes.Equal(got, kinds) {
		t.Errorf("%q, want %q", got, kinds)
	}
}

func TestLocaliseLeavesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	g := localGateway()
	whole := encoded(t, map[string]any{"path": "s3://biplane/raw/a"})
	deep := append(bytes.Repeat([]byte{0x91}, maxNesting+1), whole...) // arrays of one
	hostile := append([]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, whole...)  // an array of four billion
	for name, raw := range map[string][]byte{
		"cut": whole[:len(whole)-1], "more behind": append(bytes.Clone(whole), 0xc0), "deep": deep, "hostile": hostile, "text": []byte("s3://biplane/raw/a"),
	} {
		if got := g.localiseMessagePack(raw); !bytes.Equal(got, raw) {
			t.Errorf("%s: %q became %q", name, raw, got)
		}
	}
}

func TestLocaliseWithinContainers(t *testing.T) {
	t.Parallel()
	binary := &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{
		Tag: "msgpack", Value: encoded(t, map[string]any{"path": "s3://biplane/raw/a"}),
	}}}}}
	frame := &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_StructuredDataset{
		StructuredDataset: &core.StructuredDataset{Uri: "s3://biplane/raw/b"},
	}}}}
	list := &core.Literal{Value: &core.Literal_Collection{Collection: &core.LiteralCollection{Literals: []*core.Literal{binary, frame}}}}
	localGateway().localise([]*task.NamedLiteral{{Name: "o0", Value: list}})
	if got, want := binary.GetScalar().GetBinary().GetValue(), encoded(t, map[string]any{"path": "/bucket/a"}); !bytes.Equal(got, want) {
		t.Errorf("within a dataclass: %q, want %q", got, want)
	}
	if got := frame.GetScalar().GetStructuredDataset().GetUri(); got != "local:///bucket/b" {
		t.Errorf("a frame: %q", got)
	}
}
