package listing_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/internal/data/listing"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/store"
)

var ships = listing.List{
	Fields: map[string]listing.Field{
		"name":       {SQL: "name"},
		"created_at": {SQL: "created_at", Kind: listing.Time},
		"phase":      {SQL: "phase", Kind: listing.Number, Enum: common.ActionPhase_value, EnumPrefix: "ACTION_PHASE_"},
		"afloat":     {SQL: "afloat", Kind: listing.Bool},
	},
	Maps: map[string]listing.Map{"labels": {SQL: "(SELECT value FROM labels l WHERE l.ship = ships.name AND l.key = ?)"}},
	Sort: "created_at",
	Tie:  []string{"name"},
}

var migrations = store.Migrations{Part: "ships", Files: fstest.MapFS{"00001_ships.sql": {Data: []byte(`-- +goose Up
CREATE TABLE ships (name TEXT PRIMARY KEY, created_at BIGINT NOT NULL, phase INTEGER NOT NULL, afloat INTEGER NOT NULL);
CREATE TABLE labels (ship TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (ship, key));
`)}}}

func open(t testing.TB) store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"), migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func add(t testing.TB, db store.DB, name string, created time.Time, phase int, labels map[string]string) {
	t.Helper()
	err := db.Write(t.Context(), func(tx store.WriteTx) error {
		if _, err := tx.Exec(`INSERT INTO ships VALUES (?, ?, ?, ?)`, name, created.UnixMicro(), phase, phase%2); err != nil {
			return err
		}
		for key, value := range labels {
			if _, err := tx.Exec(`INSERT INTO labels VALUES (?, ?, ?)`, name, key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func page(t testing.TB, db store.DB, request *common.ListRequest) ([]string, string, error) {
	t.Helper()
	q, err := ships.New(request)
	if err != nil {
		return nil, "", err
	}
	var names []string
	var token string
	err = db.Read(t.Context(), func(tx store.Tx) error {
		token, err = q.Page(tx, "name", "ships", "1 = 1", nil, func(scan func(...any) error) error {
			var name string
			if err := scan(&name); err != nil {
				return err
			}
			names = append(names, name)
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, token, nil
}

func filter(function common.Filter_Function, field string, values ...string) *common.Filter {
	return &common.Filter{Function: function, Field: field, Values: values}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	db := open(t)
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	add(t, db, "ark", noon, 4, map[string]string{"team": "blue", "empty": ""})
	add(t, db, "Beagle", noon.Add(time.Hour), 5, map[string]string{"team": "red"})
	add(t, db, "cutty_sark", noon.Add(2*time.Hour), 10, nil)
	add(t, db, "50%", noon.Add(3*time.Hour), 1, nil)
	for _, c := range []struct {
		filters []*common.Filter
		want    string // oldest first
	}{
		{nil, "ark Beagle cutty_sark 50%"},
		{[]*common.Filter{filter(common.Filter_EQUAL, "name", "ark")}, "ark"},
		{[]*common.Filter{filter(common.Filter_NOT_EQUAL, "name", "ark")}, "Beagle cutty_sark 50%"},
		{[]*common.Filter{filter(common.Filter_GREATER_THAN, "phase", "4")}, "Beagle cutty_sark"},
		{[]*common.Filter{filter(common.Filter_GREATER_THAN_OR_EQUAL, "phase", "5"), filter(common.Filter_LESS_THAN, "phase", "10")}, "Beagle"},
		{[]*common.Filter{filter(common.Filter_LESS_THAN_OR_EQUAL, "created_at", "2026-05-01T14:00:00+01:00")}, "ark Beagle"},
		{[]*common.Filter{filter(common.Filter_CONTAINS, "name", "ark")}, "ark cutty_sark"},
		{[]*common.Filter{filter(common.Filter_CONTAINS, "name", "%")}, "50%"},
		{[]*common.Filter{filter(common.Filter_CONTAINS, "name", "_")}, "cutty_sark"},
		{[]*common.Filter{filter(common.Filter_CONTAINS, "name", "bea")}, ""},
		{[]*common.Filter{filter(common.Filter_CONTAINS, "name", "")}, "ark Beagle cutty_sark 50%"},
		{[]*common.Filter{filter(common.Filter_CONTAINS_CASE_INSENSITIVE, "name", "bEa")}, "Beagle"},
		{[]*common.Filter{filter(common.Filter_ENDS_WITH, "name", "ark")}, "ark cutty_sark"},
		{[]*common.Filter{filter(common.Filter_ENDS_WITH, "name", "a very long one that no name ends with")}, ""},
		{[]*common.Filter{filter(common.Filter_NOT_ENDS_WITH, "name", "ark")}, "Beagle 50%"},
		{[]*common.Filter{filter(common.Filter_VALUE_IN, "phase", "4", "10")}, "ark cutty_sark"},
		{[]*common.Filter{filter(common.Filter_VALUE_NOT_IN, "phase", "4", "10")}, "Beagle 50%"},
		{[]*common.Filter{filter(common.Filter_EQUAL, "phase", "1", "0")}, "cutty_sark"}, // what the SDK sends for phase 10
		{[]*common.Filter{filter(common.Filter_EQUAL, "phase", "ACTION_PHASE_SUCCEEDED")}, "Beagle"},
		{[]*common.Filter{filter(common.Filter_EQUAL, "phase", "succeeded")}, "Beagle"},
		{[]*common.Filter{filter(common.Filter_EQUAL, "afloat", "true")}, "Beagle 50%"},
		{[]*common.Filter{filter(common.Filter_EQUAL, "labels.team", "blue")}, "ark"},
		{[]*common.Filter{filter(common.Filter_NOT_EQUAL, "labels.team", "blue")}, "Beagle cutty_sark 50%"},
		{[]*common.Filter{filter(common.Filter_VALUE_IN, "labels.team", "blue", "red")}, "ark Beagle"},
		{[]*common.Filter{filter(common.Filter_VALUE_NOT_IN, "labels.team", "blue")}, "Beagle cutty_sark 50%"},
		{[]*common.Filter{filter(common.Filter_CONTAINS, "labels.team", "e")}, "ark Beagle"},
		{[]*common.Filter{filter(common.Filter_EXISTS, "labels.empty")}, "ark"},
		{[]*common.Filter{filter(common.Filter_NOT_EXISTS, "labels.team")}, "cutty_sark 50%"},
		{[]*common.Filter{filter(common.Filter_EQUAL, "name", "' OR '1' = '1")}, ""},
		{[]*common.Filter{filter(common.Filter_EQUAL, "labels.team' OR '1' = '1", "blue")}, ""},
	} {
		got, _, err := page(t, db, &common.ListRequest{Filters: c.filters, SortBy: &common.Sort{Key: "created_at", Direction: common.Sort_ASCENDING}})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%v: got %v, %v; want %q", c.filters, got, err, c.want)
		}
	}
}

func TestWrongRequestsNameTheField(t *testing.T) {
	t.Parallel()
	many := make([]*common.Filter, 33)
	for i := range many {
		many[i] = filter(common.Filter_EQUAL, "name", "x")
	}
	for field, request := range map[string]*common.ListRequest{
		"raw_filters":         {RawFilters: []string{"x"}},
		"filters":             {Filters: many},
		"filters[0].field":    {Filters: []*common.Filter{filter(common.Filter_EQUAL, "name; DROP TABLE ships", "x")}},
		"filters[1].values":   {Filters: []*common.Filter{filter(common.Filter_EQUAL, "name", "x"), filter(common.Filter_EQUAL, "phase", "soon")}},
		"filters[0].values":   {Filters: []*common.Filter{filter(common.Filter_GREATER_THAN, "name", "x", "y")}},
		"filters[0].function": {Filters: []*common.Filter{filter(common.Filter_CONTAINS, "phase", "1")}},
		"sort_by.key":         {SortBy: &common.Sort{Key: "labels.team"}},
		"sort_by_fields":      {SortByFields: []*common.Sort{{Key: "name"}, {Key: "phase"}}},
		"token":               {Token: "bm90IG91cnM"},
	} {
		_, err := ships.New(request)
		var f *fault.Fault
		if !asFault(err, &f) || f.Kind != fault.KindInvalid || f.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	for _, values := range [][]string{{"2026-13-01T00:00:00Z"}, {"yesterday"}, {}, {strings.Repeat("9", 2000)}} {
		if _, err := ships.New(&common.ListRequest{Filters: []*common.Filter{filter(common.Filter_EQUAL, "created_at", values...)}}); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%v: got %v", values, err)
		}
	}
}

func asFault(err error, f **fault.Fault) bool {
	got, ok := err.(*fault.Fault)
	*f = got
	return ok
}

// Whatever is inserted between two pages, no row that was there from the start is skipped or given twice.
func TestPagesStayStableWhileRowsAreAdded(t *testing.T) {
	t.Parallel()
	db := open(t)
	rapid.Check(t, func(rt *rapid.T) {
		err := db.Write(t.Context(), func(tx store.WriteTx) error {
			_, err := tx.Exec(`DELETE FROM ships`)
			return err
		})
		if err != nil {
			rt.Fatal(err)
		}
		start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		number := 0
		insert := func() string {
			number++
			name := fmt.Sprintf("s%03d", number)
			add(t, db, name, start.Add(time.Duration(rapid.IntRange(0, 3).Draw(rt, "created"))*time.Second), rapid.IntRange(0, 2).Draw(rt, "phase"), nil)
			return name
		}
		var first []string
		for range rapid.IntRange(0, 12).Draw(rt, "rows") {
			first = append(first, insert())
		}
		request := &common.ListRequest{
			Limit:  uint32(rapid.IntRange(1, 4).Draw(rt, "limit")),
			SortBy: &common.Sort{Key: rapid.SampledFrom([]string{"created_at", "phase", "name"}).Draw(rt, "key"), Direction: common.Sort_Direction(rapid.IntRange(0, 1).Draw(rt, "direction"))},
		}
		var got []string
		for {
			names, token, err := page(t, db, request)
			if err != nil || len(names) > int(request.Limit) {
				rt.Fatalf("%v, %v", names, err)
			}
			got = append(got, names...)
			if token == "" {
				break
			}
			request.Token = token
			if rapid.Bool().Draw(rt, "insert") && number < 30 {
				insert()
			}
		}
		unique := slices.Compact(slices.Sorted(slices.Values(got)))
		if len(unique) != len(got) {
			rt.Fatalf("a row came twice: %v", got)
		}
		for _, name := range first {
			if !slices.Contains(got, name) {
				rt.Fatalf("%s was skipped: %v", name, got)
			}
		}
	})
}

func TestTokenOfAnotherListIsRefused(t *testing.T) {
	t.Parallel()
	db := open(t)
	for i := range 3 {
		add(t, db, fmt.Sprint(i), time.Unix(int64(i), 0), i, nil)
	}
	_, token, err := page(t, db, &common.ListRequest{Limit: 1})
	if err != nil || token == "" {
		t.Fatal(token, err)
	}
	for _, request := range []*common.ListRequest{
		{Token: token, SortBy: &common.Sort{Key: "name"}},
		{Token: token, SortBy: &common.Sort{Key: "created_at", Direction: common.Sort_ASCENDING}},
		{Token: token, Filters: []*common.Filter{filter(common.Filter_EQUAL, "phase", "1")}},
		{Token: token[1:]},
		{Token: strings.Repeat("A", 10000)},
	} {
		if _, _, err := page(t, db, request); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%v: %v", request, err)
		}
	}
	if names, _, err := page(t, db, &common.ListRequest{Token: token}); err != nil || strings.Join(names, " ") != "1 0" {
		t.Errorf("another page size: %v, %v", names, err)
	}
}

func TestParseV1(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                     "",
		"eq(state, 0)":                         "EQUAL state [0]",
		" eq(state,0) +contains( name , a b )": "EQUAL state [0]; CONTAINS name [a b]",
		"value_in(id, a;b)+ne(id, c)":          "VALUE_IN id [a b]; NOT_EQUAL id [c]",
	} {
		filters, err := listing.ParseV1("filters", text)
		var got []string
		for _, f := range filters {
			got = append(got, fmt.Sprint(f.Function, " ", f.Field, " ", f.Values))
		}
		if err != nil || strings.Join(got, "; ") != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"state = 0", "eq(state)", "eq(state, 0", "eq(state, 0)+", "eq(state, 0)eq(state, 1)", "like(state, 0)", "+eq(a, b)"} {
		if _, err := listing.ParseV1("filters", text); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func Example() {
	list := listing.List{
		Fields: map[string]listing.Field{"name": {SQL: "name"}, "phase": {SQL: "phase", Kind: listing.Number, Enum: common.ActionPhase_value, EnumPrefix: "ACTION_PHASE_"}},
		Maps:   map[string]listing.Map{"labels": {SQL: "(SELECT value FROM run_labels l WHERE l.run = runs.id AND l.key = ?)"}},
		Sort:   "name",
		Tie:    []string{"id"},
	}
	q, err := list.New(&common.ListRequest{Filters: []*common.Filter{
		{Function: common.Filter_VALUE_IN, Field: "phase", Values: []string{"4", "SUCCEEDED"}},
		{Function: common.Filter_EQUAL, Field: "labels.team", Values: []string{"blue"}},
	}})
	if err != nil {
		panic(err)
	}
	fmt.Println(q.Where)
	fmt.Println(q.WhereArgs)
	// Then, in a transaction:
	//	token, err := q.Page(tx, "name, phase", "runs", "org = ? AND project = ?", []any{org, project}, func(scan func(...any) error) error {
	//		return scan(&name, &phase)
	//	})

	// Output:
	// phase IN (?, ?) AND (SELECT value FROM run_labels l WHERE l.run = runs.id AND l.key = ?) = ?
	// [4 5 team blue]
}
