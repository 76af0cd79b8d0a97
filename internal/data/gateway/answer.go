package gateway

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Answer gives a condition a value that came as JSON, by its callback address. JSON has one kind of number, so the declared type
// says which it is.
func (g *Gateway) Answer(ctx context.Context, id names.Action, value json.RawMessage) error {
	run, err := g.Journal.Run(ctx, id.Run)
	if err != nil {
		return err
	}
	row, err := g.Journal.Action(ctx, run.ID, id.Action)
	if err != nil {
		return err
	}
	if row.Kind != engine.KindCondition {
		return fault.New(fault.KindPrecondition, "action %q is not a condition", id.Action)
	}
	condition := &workflow.ConditionAction{}
	if err := proto.Unmarshal(row.Detail, condition); err != nil {
		return err
	}
	literal, err := literalOf(condition.GetType().GetSimple(), value)
	if err != nil {
		return err
	}
	return g.signal(ctx, id, "", literal, "")
}

func literalOf(declared core.SimpleType, value json.RawMessage) (*core.Literal, error) {
	p := &workflow.EventPayload{}
	text := strings.TrimSpace(string(value))
	var err error
	switch declared {
	case core.SimpleType_BOOLEAN:
		v := &workflow.EventPayload_BoolValue{}
		v.BoolValue, p.Value = text == "true", v
		if text != "true" && text != "false" {
			err = strconv.ErrSyntax
		}
	case core.SimpleType_INTEGER:
		v := &workflow.EventPayload_IntValue{}
		v.IntValue, err = strconv.ParseInt(text, 10, 64)
		p.Value = v
	case core.SimpleType_FLOAT:
		v := &workflow.EventPayload_FloatValue{}
		v.FloatValue, err = strconv.ParseFloat(text, 64)
		p.Value = v
	case core.SimpleType_STRING:
		v := &workflow.EventPayload_StringValue{}
		if text == "null" {
			err = strconv.ErrSyntax
		} else {
			err = json.Unmarshal(value, &v.StringValue)
		}
		p.Value = v
	default:
		return nil, fault.New(fault.KindUnsupported, "a condition of type %s cannot be answered by its address", strings.ToLower(declared.String()))
	}
	if err != nil {
		return nil, fault.Invalid("value", "the condition takes a value of type %s, got %.100s", strings.ToLower(declared.String()), text)
	}
	return payload(p)
}
