package schedule

import (
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // the plane must know every zone on a machine that has no zone files

	"github.com/robfig/cron/v3"

	"biplane.dev/biplane/internal/fault"
)

// clock is a cron expression in a time zone.
//
// Where a zone skips or repeats hours, an expression that fires in every hour follows elapsed time: it fires at each
// interval that really passes. One that names hours follows the wall clock: a time that is skipped fires once at the end
// of the gap, a time that is repeated fires the first time only. So a nightly job runs once every night.
type clock struct {
	fields    *cron.SpecSchedule // evaluated on clock readings that are written as if they were UTC
	zone      *time.Location
	everyHour bool
}

const maxExpression = 256

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

func parseCron(field, expression, zone string) (Schedule, error) {
	inner := field
	if strings.HasSuffix(field, ".cron") {
		inner = field + ".expression"
	}
	location, err := loadZone(zone)
	if err != nil {
		return nil, fault.Invalid(strings.TrimSuffix(field, "_expression")+".timezone",
			"%q is not a time zone; use an IANA name like Europe/Berlin, or UTC", clip(zone))
	}
	expression = strings.TrimSpace(expression)
	wrong := func(why string) error {
		return fault.Invalid(inner, "%q is not a cron expression (%s); write minute, hour, day of month, month and day of week, "+
			"like \"30 6 * * 1-5\"", clip(expression), why)
	}
	// The parser reads a zone out of the expression, and panics on one without a blank after it.
	if len(expression) > maxExpression || strings.Contains(expression, "TZ=") {
		return nil, wrong("too long or with a time zone in it")
	}
	parsed, err := parser.Parse(sundays(expression))
	if err != nil {
		return nil, wrong(err.Error())
	}
	fields, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, wrong("@every is a fixed rate")
	}
	fields.Location = time.UTC
	const allHours = 1<<24 - 1
	c := clock{fields: fields, zone: location, everyHour: fields.Hour&allHours == allHours}
	if fields.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, wrong("no such date ever comes")
	}
	return c, nil
}

// sundays writes day 7 of the week as day 0, which is what the parser knows.
func sundays(expression string) string {
	fields := strings.Fields(expression)
	if len(fields) != 5 {
		return expression
	}
	days := strings.Split(fields[4], ",")
	for i, day := range days {
		if day == "7" {
			days[i] = "0"
		} else if first, ok := strings.CutSuffix(day, "-7"); ok {
			days[i] = first + "-6,0"
		}
	}
	fields[4] = strings.Join(days, ",")
	return strings.Join(fields, " ")
}

// splitZone takes a leading "TZ=" or "CRON_TZ=" off an expression.
func splitZone(expression string) (zone, rest string) {
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if after, ok := strings.CutPrefix(expression, prefix); ok {
			zone, rest, _ = strings.Cut(after, " ")
			return zone, rest
		}
	}
	return "", expression
}

// zones keeps loaded zones; only names that exist are kept, so it is bounded by the zone database.
var zones sync.Map

func loadZone(name string) (*time.Location, error) {
	if name == "Local" { // would mean the zone of whichever machine the plane runs on
		name = "not a zone"
	}
	if known, ok := zones.Load(name); ok {
		return known.(*time.Location), nil
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, err
	}
	zones.Store(name, location)
	return location, nil
}

// Next is the first time after the instant, in UTC.
func (c clock) Next(after time.Time) time.Time {
	if c.everyHour {
		return c.nextElapsed(after)
	}
	return c.nextOnWall(after)
}

// maxPeriods bounds the search through periods of one offset: a zone has at most a few transitions a year, and the parser
// gives up after five years.
const maxPeriods = 64

// nextElapsed goes through the periods in which the zone's offset does not change.
func (c clock) nextElapsed(after time.Time) time.Time {
	_, offset := after.In(c.zone).Zone()
	_, end := after.In(c.zone).ZoneBounds()
	reading := shift(after, offset)
	for range maxPeriods {
		next := c.fields.Next(reading)
		if next.IsZero() {
			return next
		}
		at := shift(next, -offset)
		if end.IsZero() || at.Before(end) {
			return at
		}
		_, offset = end.Zone()
		reading = shift(end.Add(-time.Second), offset) // the first second of the new period counts
		_, end = end.ZoneBounds()
	}
	return time.Time{}
}

// maxReadings bounds the readings passed over in a repeated stretch: the minutes of a day.
const maxReadings = 24 * 60

// nextOnWall goes through the readings of the wall clock, each of which happens once.
func (c clock) nextOnWall(after time.Time) time.Time {
	_, offset := after.In(c.zone).Zone()
	reading := shift(after, offset)
	for range maxReadings {
		reading = c.fields.Next(reading)
		if reading.IsZero() {
			return reading
		}
		if at := c.instant(reading); at.After(after) {
			return at
		}
	}
	return time.Time{}
}

// instant is when the zone's clocks show the reading: the first time if they do so twice, the end of the gap if never.
func (c clock) instant(reading time.Time) time.Time {
	guess := time.Date(reading.Year(), reading.Month(), reading.Day(), reading.Hour(), reading.Minute(), reading.Second(), 0, c.zone)
	start, end := guess.ZoneBounds()
	offsets := make([]int, 0, 3)
	if !start.IsZero() {
		offsets = append(offsets, offsetAt(start.Add(-time.Second).In(c.zone)))
	}
	offsets = append(offsets, offsetAt(guess))
	if !end.IsZero() {
		offsets = append(offsets, offsetAt(end.In(c.zone)))
	}
	var first time.Time
	for _, offset := range offsets {
		at := shift(reading, -offset)
		if offsetAt(at.In(c.zone)) == offset && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if !first.IsZero() {
		return first
	}
	// In a gap the guess lies in the period before or after it; the gap is the bound that lies between the two offsets'
	// ideas of the reading.
	for _, bound := range []time.Time{start, end} {
		if bound.IsZero() {
			continue
		}
		before, behind := offsetAt(bound.Add(-time.Second).In(c.zone)), offsetAt(bound.In(c.zone))
		if !shift(reading, -before).Before(bound) && shift(reading, -behind).Before(bound) {
			return bound.UTC()
		}
	}
	return guess.UTC()
}

func offsetAt(t time.Time) int {
	_, offset := t.Zone()
	return offset
}

func shift(t time.Time, seconds int) time.Time {
	return t.UTC().Add(time.Duration(seconds) * time.Second)
}

// clip shortens what a stranger sent before it is quoted in an error.
func clip(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
