package listing

import (
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/internal/fault"
)

// v1Functions are the functions of the older filter grammar.
var v1Functions = map[string]common.Filter_Function{
	"eq":       common.Filter_EQUAL,
	"ne":       common.Filter_NOT_EQUAL,
	"gt":       common.Filter_GREATER_THAN,
	"gte":      common.Filter_GREATER_THAN_OR_EQUAL,
	"lt":       common.Filter_LESS_THAN,
	"lte":      common.Filter_LESS_THAN_OR_EQUAL,
	"contains": common.Filter_CONTAINS,
	"value_in": common.Filter_VALUE_IN,
}

// maxV1 bounds the text of an older filter.
const maxV1 = 16 << 10

// ParseV1 reads the filter grammar that project lists still use: "eq(state, 0)+value_in(name, a;b)". All must hold.
func ParseV1(field, text string) ([]*common.Filter, error) {
	if len(text) > maxV1 {
		return nil, fault.Invalid(field, "is %d bytes long; at most %d are allowed", len(text), maxV1)
	}
	var filters []*common.Filter
	for rest := strings.TrimSpace(text); rest != ""; {
		name, after, open := strings.Cut(rest, "(")
		inside, tail, closed := strings.Cut(after, ")")
		key, value, comma := strings.Cut(inside, ",")
		function, known := v1Functions[strings.TrimSpace(name)]
		if !open || !closed || !comma || !known {
			return nil, fault.Invalid(field, "cannot read %q; write filters like eq(state, 0)+contains(name, x), "+
				"with eq, ne, gt, gte, lt, lte, contains or value_in", clip(rest))
		}
		f := &common.Filter{Function: function, Field: strings.TrimSpace(key), Values: []string{strings.TrimSpace(value)}}
		if function == common.Filter_VALUE_IN {
			f.Values = strings.Split(strings.TrimSpace(value), ";")
		}
		filters = append(filters, f)
		rest = strings.TrimSpace(tail)
		if rest == "" {
			break
		}
		if rest[0] != '+' || len(rest) == 1 {
			return nil, fault.Invalid(field, "expected '+' and another filter at %q", clip(rest))
		}
		rest = strings.TrimSpace(rest[1:])
	}
	return filters, nil
}
