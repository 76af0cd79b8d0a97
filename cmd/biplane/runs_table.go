package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/timestamppb"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
)

// cell is a text of a table, with the terminal's code for its colour ("" for none).
type cell struct {
	text   string
	colour string
}

// table is written with aligned columns.
type table struct {
	rows [][]cell
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	grey   = "90"
)

func newTable(titles ...string) *table {
	t := &table{}
	var head []cell
	for _, title := range titles {
		head = append(head, cell{title, bold})
	}
	t.rows = append(t.rows, head)
	return t
}

// add adds a row; a value is a cell or becomes one without colour.
func (t *table) add(values ...any) {
	var row []cell
	for _, value := range values {
		c, ok := value.(cell)
		if !ok {
			c.text = fmt.Sprint(value)
		}
		row = append(row, c)
	}
	t.rows = append(t.rows, row)
}

// write writes the table; colours only where a person looks at a terminal.
func (t *table) write(w io.Writer) error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	colours := coloured(w)
	var out strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			line.WriteString(paint(c, colours))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)))
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " "))
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func paint(c cell, colours bool) string {
	if !colours || c.colour == "" || c.text == "" {
		return c.text
	}
	return "\x1b[" + c.colour + "m" + c.text + "\x1b[0m"
}

func coloured(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))
}

// phaseCell is a phase in its colour. since is set when the plane is not reporting: the phase may be an old one.
func phaseCell(phase linkv1.Phase, since *timestamppb.Timestamp) cell {
	c := cell{text: enumText(phase.String(), "PHASE_")}
	switch phase {
	case linkv1.Phase_PHASE_SUCCEEDED, linkv1.Phase_PHASE_RECOVERED:
		c.colour = green
	case linkv1.Phase_PHASE_FAILED, linkv1.Phase_PHASE_TIMED_OUT:
		c.colour = red
	case linkv1.Phase_PHASE_ABORTED, linkv1.Phase_PHASE_PAUSED:
		c.colour = yellow
	default:
		c.colour = blue
	}
	if since != nil {
		c.text += ", not reporting since " + timeText(since)
		c.colour = yellow
	}
	return c
}

// enumText is an enum's value without its prefix, in words; the zero value is empty.
func enumText(value, prefix string) string {
	text := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(value, prefix)), "_", " ")
	if text == "unspecified" {
		return ""
	}
	return text
}

// timeText is a time of the local clock, without the day when it is today's.
func timeText(at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	local := at.AsTime().Local()
	if local.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return local.Format(time.TimeOnly)
	}
	return local.Format(time.DateTime)
}

// duration is how long something took, or has taken so far.
func duration(started, ended *timestamppb.Timestamp) string {
	if started == nil {
		return ""
	}
	until := time.Now()
	if ended != nil {
		until = ended.AsTime()
	}
	took := max(0, until.Sub(started.AsTime()))
	switch {
	case took < time.Second:
		return took.Round(time.Millisecond).String()
	case took < time.Minute:
		return took.Round(100 * time.Millisecond).String()
	default:
		return took.Round(time.Second).String()
	}
}
