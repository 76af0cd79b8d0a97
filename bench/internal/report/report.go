package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Better says which of several repeats is the best estimate of what the program costs by itself: other work on the machine
// only ever makes a time longer and a rate lower.
type Better int

// The directions.
const (
	Lower Better = iota
	Higher
)

// Figure is one measured quantity.
type Figure struct {
	Name   string    `json:"name"`
	Value  float64   `json:"value"` // the best of Values
	Unit   string    `json:"unit"`
	Repeat int       `json:"repeats"`
	Load   float64   `json:"load"`   // 1-minute load average when it was measured, this benchmark included
	Others float64   `json:"others"` // cores that other processes used meanwhile
	Median float64   `json:"median"`
	Worst  float64   `json:"worst"`
	Values []float64 `json:"values"`
	Mark   float64   `json:"mark,omitempty"` // what it should reach on two quiet cores
	Note   string    `json:"note,omitempty"`
	Time   time.Time `json:"time"`
}

// Report collects figures of one run of the benchmarks and appends each to a file as soon as it is known, so that a run cut
// short has not been for nothing.
type Report struct {
	folder  string
	figures []Figure
}

// Open makes a report whose files are in folder.
func Open(folder string) (*Report, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	return &Report{folder: folder}, nil
}

// Add keeps a figure with its values; group is the name of the file. No values, no figure.
func (r *Report) Add(group string, better Better, f Figure) error {
	if len(f.Values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(f.Values))
	if better == Higher {
		slices.Reverse(sorted)
	}
	f.Value, f.Median, f.Worst, f.Repeat = sorted[0], sorted[len(sorted)/2], sorted[len(sorted)-1], len(sorted)
	f.Time = time.Now().UTC().Truncate(time.Second)
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(r.folder, group+".jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	r.figures = append(r.figures, f)
	return err
}

// Table is all figures so far, for people.
func (r *Report) Table() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tBEST\tMEDIAN\tWORST\tUNIT\tMARK\tREPEATS\tLOAD\tOTHERS\tNOTE")
	for _, f := range r.figures {
		mark := ""
		if f.Mark != 0 {
			mark = number(f.Mark)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%.1f\t%.1f\t%s\n", f.Name, number(f.Value), number(f.Median), number(f.Worst), f.Unit, mark,
			f.Repeat, f.Load, f.Others, f.Note)
	}
	if err := w.Flush(); err != nil {
		return err.Error() // a strings.Builder does not fail
	}
	return text.String()
}

// number shows three significant digits, and all of a large whole number.
func number(v float64) string {
	switch abs := max(v, -v); {
	case abs >= 100:
		return fmt.Sprintf("%.0f", v)
	case abs >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}
