package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheBestOfTheRepeatsIsTheValue(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		better        Better
		value, median float64
	}{
		"times": {Lower, 1, 2},
		"rates": {Higher, 9, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			r, err := Open(folder)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Add("x", test.better, Figure{Name: name, Values: []float64{2, 9, 1}, Unit: "s"}); err != nil {
				t.Fatal(err)
			}
			if err := r.Add("x", test.better, Figure{Name: "nothing measured"}); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(folder, "x.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			var got Figure
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatalf("%v: %s", err, raw)
			}
			if got.Value != test.value || got.Median != test.median || got.Repeat != 3 {
				t.Errorf("got %+v", got)
			}
			if table := r.Table(); !strings.Contains(table, name) || strings.Contains(table, "nothing measured") {
				t.Errorf("table:\n%s", table)
			}
		})
	}
}

func TestNumbersKeepThreeDigits(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]float64{"0.00123": 0.00123, "1.23": 1.234, "12.3": 12.34, "123457": 123456.7, "-12.3": -12.34} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}
