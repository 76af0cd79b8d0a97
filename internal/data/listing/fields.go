package listing

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// Kind is how a field's values are written in a request and kept in a column.
type Kind uint8

// The kinds.
const (
	Text   Kind = iota // a string
	Number             // a 64-bit integer; Field.Enum adds names for some
	Time               // RFC 3339 in a request, an integer of Field.Unit since 1970 in the column
	Bool               // true or false in a request, 1 or 0 in the column
)

// Field is one thing that a list can be filtered by and, unless Unsorted, sorted by. A column that is sorted by must be
// NOT NULL: a row without a key has no place in the order.
type Field struct {
	SQL        string // expression; a name of a column or a scalar subquery
	Kind       Kind
	Enum       map[string]int32 // names accepted for a Number, such as common.ActionPhase_value
	EnumPrefix string           // what a request may leave out of such a name, such as "ACTION_PHASE_"
	Unit       time.Duration    // of a Time; zero is a microsecond
	Unsorted   bool
}

// Map is a set of values under free keys, such as labels, that a request names as "labels.KEY".
type Map struct {
	// SQL is a scalar expression with exactly one placeholder, for the key. It is NULL when the key is absent:
	// "(SELECT value FROM run_labels l WHERE l.run = r.id AND l.key = ?)".
	SQL string
}

// List is what may be asked of one list. It is read only once built, and shared by all requests.
type List struct {
	Fields map[string]Field
	Maps   map[string]Map // by the text before the first dot
	// Sort is the key used when the request names none; Ascending is its direction.
	Sort      string
	Ascending bool
	// Tie are expressions that together name a row uniquely, compared as text or integers; they complete the order.
	Tie []string
}

// operand is a field of a request: an expression, with the argument that each occurrence of it needs.
type operand struct {
	name  string
	field Field
	args  []any
}

func (l *List) operand(name, where string) (operand, error) {
	if field, ok := l.Fields[name]; ok {
		return operand{name: name, field: field}, nil
	}
	if prefix, key, ok := strings.Cut(name, "."); ok {
		if m, ok := l.Maps[prefix]; ok {
			if key == "" || len(key) > maxValue {
				return operand{}, fault.Invalid(where, "%q needs a key of 1 to %d bytes after the dot", name, maxValue)
			}
			return operand{name: name, field: Field{SQL: m.SQL, Unsorted: true}, args: []any{key}}, nil
		}
	}
	return operand{}, fault.Invalid(where, "this list has no field %q; it has %s", clip(name), l.known(false))
}

// known names the fields for an error text, in a stable order.
func (l *List) known(sortable bool) string {
	names := make([]string, 0, len(l.Fields)+len(l.Maps))
	for name, field := range l.Fields {
		if !sortable || !field.Unsorted {
			names = append(names, name)
		}
	}
	if !sortable {
		for prefix := range l.Maps {
			names = append(names, prefix+".KEY")
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// value reads one value of a filter as the column keeps it.
func (f Field) value(where, text string) (any, error) {
	if len(text) > maxValue {
		return nil, fault.Invalid(where, "is %d bytes long; at most %d are allowed", len(text), maxValue)
	}
	switch f.Kind {
	case Number:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		if n, ok := f.named(text); ok {
			return n, nil
		}
		return nil, fault.Invalid(where, "%q is not a number", clip(text))
	case Bool:
		switch strings.ToLower(text) {
		case "true", "1":
			return int64(1), nil
		case "false", "0":
			return int64(0), nil
		}
		return nil, fault.Invalid(where, "%q is neither true nor false", clip(text))
	case Time:
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, fault.Invalid(where, "%q is not a time; write it like 2026-01-31T15:04:05Z", clip(text))
		}
		return f.ticks(at), nil
	default:
		if strings.ContainsRune(text, 0) {
			return nil, fault.Invalid(where, "holds a NUL byte")
		}
		return text, nil
	}
}

func (f Field) named(text string) (int64, bool) {
	text = strings.ToUpper(text)
	n, ok := f.Enum[text]
	if !ok {
		n, ok = f.Enum[f.EnumPrefix+text]
	}
	return int64(n), ok
}

func (f Field) ticks(at time.Time) int64 {
	switch f.Unit {
	case time.Nanosecond:
		return at.UnixNano()
	case time.Millisecond:
		return at.UnixMilli()
	case time.Second:
		return at.Unix()
	default:
		return at.UnixMicro()
	}
}

// clip shortens what a stranger sent before it is quoted in an error.
func clip(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
