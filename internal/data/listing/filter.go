package listing

import (
	"strings"
	"unicode/utf8"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/internal/fault"
)

// Limits of one request.
const (
	maxFilters = 32
	maxValues  = 200
	maxValue   = 1024 // bytes
)

// comparisons are the functions that take one value and are an SQL operator.
var comparisons = map[common.Filter_Function]string{
	common.Filter_EQUAL:                 "=",
	common.Filter_NOT_EQUAL:             "<>",
	common.Filter_GREATER_THAN:          ">",
	common.Filter_GREATER_THAN_OR_EQUAL: ">=",
	common.Filter_LESS_THAN:             "<",
	common.Filter_LESS_THAN_OR_EQUAL:    "<=",
}

// clause is a condition with the arguments of its placeholders, in order.
type clause struct {
	sql  strings.Builder
	args []any
}

func (c *clause) write(sql string, args ...any) {
	c.sql.WriteString(sql)
	c.args = append(c.args, args...)
}

func (c *clause) operand(o operand) { c.write(o.field.SQL, o.args...) }

// filter appends the condition of one filter to c. where is the filter's place in the request, for errors.
func (l *List) filter(c *clause, where string, f *common.Filter) error {
	o, err := l.operand(f.GetField(), where+".field")
	if err != nil {
		return err
	}
	values := f.GetValues()
	if len(values) > maxValues {
		return fault.Invalid(where+".values", "holds %d values; at most %d are allowed", len(values), maxValues)
	}
	if f.GetFunction() == common.Filter_EQUAL {
		values = rejoin(values)
	}
	read := make([]any, len(values))
	for i, text := range values {
		if read[i], err = o.field.value(where+".values", text); err != nil {
			return err
		}
	}
	// one returns the only value of a function that takes one.
	one := func() (any, error) {
		if len(read) != 1 {
			return nil, fault.Invalid(where+".values", "%s takes one value, got %d; VALUE_IN takes several", f.GetFunction(), len(read))
		}
		return read[0], nil
	}
	switch function := f.GetFunction(); function {
	case common.Filter_EQUAL, common.Filter_NOT_EQUAL, common.Filter_GREATER_THAN, common.Filter_GREATER_THAN_OR_EQUAL,
		common.Filter_LESS_THAN, common.Filter_LESS_THAN_OR_EQUAL:
		value, err := one()
		if err != nil {
			return err
		}
		if function == common.Filter_NOT_EQUAL && o.args != nil { // an absent key is not equal to anything
			c.write("(")
			c.operand(o)
			c.write(" IS NULL OR ")
			c.operand(o)
			c.write(" <> ?)", value)
			return nil
		}
		c.operand(o)
		c.write(" "+comparisons[function]+" ?", value)
	case common.Filter_CONTAINS, common.Filter_CONTAINS_CASE_INSENSITIVE, common.Filter_ENDS_WITH, common.Filter_NOT_ENDS_WITH:
		if o.field.Kind != Text {
			return fault.Invalid(where+".function", "%s needs a text, %q is none", function, o.name)
		}
		value, err := one()
		if err != nil {
			return err
		}
		c.text(o, function, value.(string))
	case common.Filter_VALUE_IN, common.Filter_VALUE_NOT_IN:
		if len(read) == 0 {
			return fault.Invalid(where+".values", "is empty; %s needs at least one value", function)
		}
		not := function == common.Filter_VALUE_NOT_IN
		if not && o.args != nil {
			c.write("(")
			c.operand(o)
			c.write(" IS NULL OR ")
		}
		c.operand(o)
		if not {
			c.write(" NOT")
		}
		c.write(" IN (?"+strings.Repeat(", ?", len(read)-1)+")", read...)
		if not && o.args != nil {
			c.write(")")
		}
	case common.Filter_EXISTS, common.Filter_NOT_EXISTS:
		c.operand(o)
		if function == common.Filter_EXISTS {
			c.write(" IS NOT NULL")
		} else {
			c.write(" IS NULL")
		}
	default:
		return fault.Invalid(where+".function", "%d is not a filter function", int32(function))
	}
	return nil
}

// text appends a condition on a part of a text. LIKE is avoided: SQLite's ignores case, PostgreSQL's does not, and both
// give meaning to characters of the value.
func (c *clause) text(o operand, function common.Filter_Function, value string) {
	if value == "" { // part of every text
		if function == common.Filter_NOT_ENDS_WITH {
			c.write("1 = 0")
		} else {
			c.write("1 = 1")
		}
		return
	}
	switch function {
	case common.Filter_CONTAINS:
		c.write("replace(")
		c.operand(o)
		c.write(", ?, '') <> ", value)
		c.operand(o)
	case common.Filter_CONTAINS_CASE_INSENSITIVE:
		c.write("replace(lower(")
		c.operand(o)
		c.write("), lower(?), '') <> lower(", value)
		c.operand(o)
		c.write(")")
	default:
		length := utf8.RuneCountInString(value)
		if function == common.Filter_NOT_ENDS_WITH {
			c.write("NOT ")
		}
		c.write("(length(")
		c.operand(o)
		c.write(") >= ? AND substr(", length)
		c.operand(o)
		c.write(", length(")
		c.operand(o)
		c.write(") - ? + 1) = ?)", length, value)
	}
}

// rejoin mends a filter that the SDK writes when it filters runs or actions by one phase: it hands a string over where a
// list of strings belongs, so phase "10" arrives as the values "1" and "0". No EQUAL has several values otherwise.
func rejoin(values []string) []string {
	if len(values) < 2 {
		return values
	}
	for _, v := range values {
		if utf8.RuneCountInString(v) != 1 {
			return values
		}
	}
	return []string{strings.Join(values, "")}
}
