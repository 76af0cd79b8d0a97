package listing

import (
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/store"
)

// Page sizes. A larger wish is cut, not refused: the token leads on.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Query is one page of a list, ready to be run.
type Query struct {
	// Where is the condition of the filters alone, "1 = 1" without any, for counts; WhereArgs are its arguments.
	Where     string
	WhereArgs []any
	// Limit is the size of the page.
	Limit int

	keys      []string // SQL of the sort key, then the tie breakers
	sort      string   // name of the sort key
	ascending bool
	after     []any  // keys of the last row of the page before; nil for the first page
	mark      string // what the token must have been made for
}

// New reads a request. Its errors are faults of KindInvalid that name the field of the request.
func (l *List) New(request *common.ListRequest) (*Query, error) {
	if len(request.GetRawFilters()) > 0 {
		return nil, fault.Invalid("raw_filters", "is not served; use filters")
	}
	if n := len(request.GetFilters()); n > maxFilters {
		return nil, fault.Invalid("filters", "holds %d filters; at most %d are allowed", n, maxFilters)
	}
	q := &Query{Limit: limit(request.GetLimit())}
	var where clause
	for i, f := range request.GetFilters() {
		if i > 0 {
			where.write(" AND ")
		}
		if err := l.filter(&where, fmt.Sprintf("filters[%d]", i), f); err != nil {
			return nil, err
		}
	}
	q.Where, q.WhereArgs = where.sql.String(), where.args
	if q.Where == "" {
		q.Where = "1 = 1"
	}
	if err := l.order(q, request); err != nil {
		return nil, err
	}
	q.mark = mark(q)
	if token := request.GetToken(); token != "" {
		after, err := decode(token, q)
		if err != nil {
			return nil, err
		}
		q.after = after
	}
	return q, nil
}

func limit(asked uint32) int {
	switch {
	case asked == 0:
		return DefaultLimit
	case asked > MaxLimit:
		return MaxLimit
	default:
		return int(asked)
	}
}

func (l *List) order(q *Query, request *common.ListRequest) error {
	by, where := request.GetSortBy(), "sort_by"
	if fields := request.GetSortByFields(); len(fields) > 0 {
		if len(fields) > 1 {
			return fault.Invalid("sort_by_fields", "holds %d keys; a list is sorted by one", len(fields))
		}
		by, where = fields[0], "sort_by_fields[0]"
	}
	q.sort, q.ascending = l.Sort, l.Ascending
	if by.GetKey() != "" {
		q.sort, q.ascending = by.GetKey(), by.GetDirection() == common.Sort_ASCENDING
	}
	field, ok := l.Fields[q.sort]
	if !ok || field.Unsorted {
		return fault.Invalid(where+".key", "this list cannot be sorted by %q, only by %s", clip(q.sort), l.known(true))
	}
	q.keys = append([]string{field.SQL}, l.Tie...)
	return nil
}

// Row takes one row: it passes the destinations of its columns to scan.
type Row = func(scan func(dest ...any) error) error

// Page runs the query: "SELECT columns FROM from WHERE scope AND the filters …". columns, from and scope are constants of
// the caller, args the arguments of their placeholders in that order. each is called once per row, in order, and passes
// the destinations of its columns to scan; to keep none of the row it must still scan. The token of the next page is
// empty when there is none.
func (q *Query) Page(tx store.Tx, columns, from, scope string, args []any, each Row) (token string, err error) {
	var c clause
	c.write("SELECT " + columns + ", " + strings.Join(q.keys, ", ") + " FROM " + from + " WHERE " + scope + " AND " + q.Where)
	direction, beyond := " DESC", " < "
	if q.ascending {
		direction, beyond = " ASC", " > "
	}
	args = append(slices.Clone(args), q.WhereArgs...)
	if q.after != nil {
		c.write(" AND (" + strings.Join(q.keys, ", ") + ")" + beyond + "(?" + strings.Repeat(", ?", len(q.keys)-1) + ")")
		args = append(args, q.after...)
	}
	c.write(" ORDER BY " + strings.Join(q.keys, direction+", ") + direction + " LIMIT ?")
	args = append(args, q.Limit+1) // one more than asked tells whether another page exists
	rows, err := tx.Query(c.sql.String(), args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	return q.read(rows, each)
}

func (q *Query) read(rows *sql.Rows, each Row) (string, error) {
	last := make([]any, len(q.keys))
	for n := 0; rows.Next(); n++ {
		if n == q.Limit {
			return encode(q, last), rows.Close()
		}
		scan := func(dest ...any) error {
			for i := range last {
				dest = append(dest, &last[i])
			}
			return rows.Scan(dest...)
		}
		if err := each(scan); err != nil {
			return "", err
		}
	}
	return "", rows.Err()
}

// mark condenses what a token is good for: the filters and the order.
func mark(q *Query) string {
	var b strings.Builder
	b.WriteString(q.Where + "\x00" + q.sort + "\x00" + strconv.FormatBool(q.ascending))
	for _, arg := range q.WhereArgs {
		fmt.Fprintf(&b, "\x00%v", arg)
	}
	return b.String()
}
