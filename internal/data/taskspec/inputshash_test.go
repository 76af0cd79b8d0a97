package taskspec_test

import (
	"encoding/base64"
	"testing"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/taskspec"
)

// dict is what the SDK sends for a dict that has a value of every MessagePack format a program can make, keys not in order.
const dict = "haF6nAH/zQEs0f7UzgABEXDS//7ukM8AAAEAAAAAANP///8AAAAAAMs/+AAAAAAAAMDDwqFhhKF52Sh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4oWLEAgEC" +
	"osO82gEseXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5" +
	"eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5" +
	"eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5oXfFASxxcXFx" +
	"cXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFx" +
	"cXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFx" +
	"cXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXGhbd4AFKEwAKExAaEyAqEzA6E0" +
	"BKE1BaE2BqE3B6E4CKE5CaIxMAqiMTELojEyDKIxMw2iMTQOojE1D6IxNhCiMTcRojE4EqIxOROhbNwAFAABAgMEBQYHCAkKCwwNDg8QERITAQI="

func primitive(p *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: p}}}}
}

func integer(n int64) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: n}})
}

func packed(t *testing.T, raw []byte) *core.Literal {
	t.Helper()
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Value: raw, Tag: "msgpack"}}}}}
}

func inputs(pairs ...*task.NamedLiteral) *task.Inputs { return &task.Inputs{Literals: pairs} }

func named(name string, value *core.Literal) *task.NamedLiteral {
	return &task.NamedLiteral{Name: name, Value: value}
}

// The wanted values were computed by the SDK, version 2.12.1 (generate_filtered_inputs_hash).
func TestInputsHashIsTheSDKs(t *testing.T) {
	t.Parallel()
	raw, err := base64.StdEncoding.DecodeString(dict)
	if err != nil {
		t.Fatal(err)
	}
	hashed := &core.Literal{Hash: "h1", Value: integer(4).Value}
	list := &core.Literal{Value: &core.Literal_Collection{Collection: &core.LiteralCollection{Literals: []*core.Literal{integer(1), {Hash: "h"}}}}}
	entries := &core.Literal{Value: &core.Literal_Map{Map: &core.LiteralMap{Literals: map[string]*core.Literal{
		"b": integer(2), "a": primitive(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: 1.5}}),
	}}}}
	text := primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: "a"}})
	for _, c := range []struct {
		name   string
		inputs *task.Inputs
		want   string
	}{
		{"none", inputs(), ""},
		{"ignored", inputs(named("ignored", text)), ""},
		{"one", inputs(named("x", text), named("ignored", integer(7))), "ffZD8GlL/divH6avKklIUB71twvswEKZ3KQzvBMei7Y="},
		{"two", inputs(named("x", integer(1)), named("y", primitive(&core.Primitive{Value: &core.Primitive_Boolean{Boolean: true}}))), "v4leVLntl00faPW262sOx9D4aZzfKr1WsEVd1HexI6I="},
		{"hash in place of content", inputs(named("x", hashed)), "7Nghq9yInsBfOW8cBsxd5GBCeu+I3d+EDzXmZ04KBpQ="},
		{"nested", inputs(named("x", list), named("y", entries)), "fyA56yNU9rRX2w3pqJ2Irbhhr2Av26Gw1TjZ+RNt1io="},
		{"dict", inputs(named("x", packed(t, raw))), "7zSZbFlevTkGWQM3BOO70h7S1QgIs/VnVVF0IZsdxUE="},
	} {
		got, err := taskspec.InputsHash(c.inputs, []string{"ignored"})
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestBrokenDictsAreHashedAsTheyAre(t *testing.T) {
	t.Parallel()
	seen := map[string][]byte{}
	for _, raw := range [][]byte{
		{}, {0xc1}, {0x82, 0x01}, {0xdf, 0xff, 0xff, 0xff, 0xff}, {0xdd, 0xff, 0xff, 0xff, 0xff, 0x01}, {0xdb, 0x00, 0x00}, {0x01, 0x02}, {0xd8, 0x01},
	} {
		got, err := taskspec.InputsHash(inputs(named("x", packed(t, raw))), nil)
		if err != nil {
			t.Errorf("%x: %v", raw, err)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("%x and %x have the same hash", raw, other)
		}
		seen[got] = raw
	}
	deep := make([]byte, 100_000)
	for i := range deep {
		deep[i] = 0x91
	}
	if _, err := taskspec.InputsHash(inputs(named("x", packed(t, deep))), nil); err != nil {
		t.Error(err)
	}
}
