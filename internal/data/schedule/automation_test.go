package schedule_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/fault"
)

func cron(expression, zone string) *task.TriggerAutomationSpec {
	return scheduled(&task.Schedule{Expression: &task.Schedule_Cron{Cron: &task.Cron{Expression: expression, Timezone: zone}}})
}

func every(value uint32, unit task.FixedRateUnit, start string) *task.TriggerAutomationSpec {
	rate := &task.FixedRate{Value: value, Unit: unit}
	if start != "" {
		at, err := time.Parse(time.RFC3339, start)
		if err != nil {
			panic(err)
		}
		rate.StartTime = timestamppb.New(at)
	}
	return scheduled(&task.Schedule{Expression: &task.Schedule_Rate{Rate: rate}})
}

func scheduled(s *task.Schedule) *task.TriggerAutomationSpec {
	return &task.TriggerAutomationSpec{Type: task.TriggerAutomationSpecType_TYPE_SCHEDULE, Automation: &task.TriggerAutomationSpec_Schedule{Schedule: s}}
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func parse(t testing.TB, spec *task.TriggerAutomationSpec, from string) schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(spec, at(t, from))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	minutes = task.FixedRateUnit_FIXED_RATE_UNIT_MINUTE
	hours   = task.FixedRateUnit_FIXED_RATE_UNIT_HOUR
	days    = task.FixedRateUnit_FIXED_RATE_UNIT_DAY
)

func TestNext(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec  *task.TriggerAutomationSpec
		after string
		want  []string // times in UTC
	}{
		"every hour":                 {cron("0 * * * *", "UTC"), "2026-03-01T11:59:59Z", []string{"2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"}},
		"not the time itself":        {cron("0 12 * * *", ""), "2026-03-01T12:00:00Z", []string{"2026-03-02T12:00:00Z"}},
		"zone":                       {cron("30 6 * * 1-5", "America/New_York"), "2026-01-02T11:30:00Z", []string{"2026-01-05T11:30:00Z"}},
		"zone in the expression":     {scheduled(&task.Schedule{Expression: &task.Schedule_CronExpression{CronExpression: "CRON_TZ=Asia/Tokyo 0 9 * * *"}}), "2026-01-01T00:00:00Z", []string{"2026-01-02T00:00:00Z"}},
		"plain expression":           {scheduled(&task.Schedule{Expression: &task.Schedule_CronExpression{CronExpression: "0 9 * * *"}}), "2026-01-01T00:00:00Z", []string{"2026-01-01T09:00:00Z"}},
		"descriptor":                 {cron("@daily", "Asia/Kolkata"), "2026-01-01T00:00:00Z", []string{"2026-01-01T18:30:00Z"}},
		"Sunday is 0 and 7":          {cron("0 0 * * 7", "UTC"), "2026-03-02T00:00:00Z", []string{"2026-03-08T00:00:00Z", "2026-03-15T00:00:00Z"}},
		"to Sunday":                  {cron("0 0 * * 6-7", "UTC"), "2026-03-02T00:00:00Z", []string{"2026-03-07T00:00:00Z", "2026-03-08T00:00:00Z", "2026-03-14T00:00:00Z"}},
		"leap day":                   {cron("0 0 29 2 *", "UTC"), "2026-03-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		"last second of a year":      {cron("59 23 31 12 *", "Pacific/Kiritimati"), "2026-01-01T00:00:00Z", []string{"2026-12-31T09:59:00Z"}},
		"gap, named hour":            {cron("30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"gap, several in it":         {cron("0,15,30 2 * * *", "Europe/Berlin"), "2026-03-29T00:50:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		"gap, every hour":            {cron("30 * * * *", "Europe/Berlin"), "2026-03-29T00:00:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"}},
		"gap at midnight":            {cron("0 0 * * *", "America/Santiago"), "2026-09-05T12:00:00Z", []string{"2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}},
		"gap at midnight, some days": {cron("0 0 * * 0", "America/Santiago"), "2026-09-05T12:00:00Z", []string{"2026-09-06T04:00:00Z", "2026-09-13T03:00:00Z"}},
		"gap of a day":               {cron("0 12 * * *", "Pacific/Apia"), "2011-12-29T20:00:00Z", []string{"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
		"overlap, named hour":        {cron("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"overlap, from within":       {cron("30 2 * * *", "Europe/Berlin"), "2026-10-25T01:10:00Z", []string{"2026-10-26T01:30:00Z"}},
		"overlap, every hour":        {cron("30 * * * *", "Europe/Berlin"), "2026-10-25T00:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		"half-hour overlap":          {cron("*/20 * * * *", "Australia/Lord_Howe"), "2026-04-04T14:35:00Z", []string{"2026-04-04T14:40:00Z", "2026-04-04T15:10:00Z", "2026-04-04T15:30:00Z"}},
		"half-hour gap":              {cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03T12:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},

		"rate counts from activation":   {every(90, minutes, ""), "2026-01-01T00:00:00Z", []string{"2026-01-01T01:30:00Z", "2026-01-01T03:00:00Z"}},
		"rate with a start to come":     {every(1, days, "2026-02-01T08:00:00Z"), "2026-01-01T00:00:00Z", []string{"2026-02-01T08:00:00Z", "2026-02-02T08:00:00Z"}},
		"rate with a start in the past": {every(6, hours, "2020-01-01T01:00:00Z"), "2026-01-01T00:00:00Z", []string{"2026-01-01T01:00:00Z", "2026-01-01T07:00:00Z"}},

		"on demand":  {&task.TriggerAutomationSpec{Type: task.TriggerAutomationSpecType_TYPE_NONE}, "2026-01-01T00:00:00Z", []string{""}},
		"none given": {nil, "2026-01-01T00:00:00Z", []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := parse(t, c.spec, c.after)
			for next := at(t, c.after); len(c.want) > 0; c.want = c.want[1:] {
				next = s.Next(next)
				if c.want[0] == "" {
					if !next.IsZero() {
						t.Fatalf("got %v, want never", next)
					}
				} else if !next.Equal(at(t, c.want[0])) {
					t.Fatalf("got %v, want %s", next, c.want[0])
				}
			}
		})
	}
}

func TestWhatCannotBeScheduled(t *testing.T) {
	t.Parallel()
	const expression, zone = "automation_spec.schedule.cron.expression", "automation_spec.schedule.cron.timezone"
	for _, c := range []struct {
		spec  *task.TriggerAutomationSpec
		field string
	}{
		{cron("", "UTC"), expression},
		{cron("* * * *", "UTC"), expression},
		{cron("0 * * * * *", "UTC"), expression},
		{cron("61 * * * *", "UTC"), expression},
		{cron("*/0 * * * *", "UTC"), expression},
		{cron("0 0 31 4 *", "UTC"), expression},
		{cron("@every 5m", "UTC"), expression},
		{cron("@never", "UTC"), expression},
		{cron("TZ=UTC", ""), expression},
		{cron("\x00 * * * *", ""), expression},
		{cron("0 0 * * *", "Local"), zone},
		{cron("0 0 * * *", "Europe/Nowhere"), zone},
		{cron("0 0 * * *", "../UTC"), zone},
		{cron("0 0 * * *", "Europe/Berlin\x00"), zone},
		{scheduled(&task.Schedule{Expression: &task.Schedule_CronExpression{CronExpression: "TZ=UTC"}}), "automation_spec.schedule.cron_expression"},
		{scheduled(nil), "automation_spec.schedule"},
		{every(0, minutes, ""), "automation_spec.schedule.rate.value"},
		{every(1<<32-1, days, ""), "automation_spec.schedule.rate.value"},
		{every(1, 0, ""), "automation_spec.schedule.rate.unit"},
		{every(1, minutes, "1066-10-14T09:00:00Z"), "automation_spec.schedule.rate.start_time"},
		{&task.TriggerAutomationSpec{Type: 99}, "automation_spec.type"},
	} {
		_, err := schedule.Parse(c.spec, time.Now())
		var f *fault.Fault
		if !errors.As(err, &f) || f.Kind != fault.KindInvalid || f.Field != c.field {
			t.Errorf("%v: got %v, want a fault of %s", c.spec, err, c.field)
		}
	}
	if _, err := schedule.Parse(&task.TriggerAutomationSpec{Type: task.TriggerAutomationSpecType_TYPE_ARTIFACT}, time.Now()); !fault.Is(err, fault.KindUnsupported) {
		t.Errorf("artifact trigger: %v", err)
	}
}

// Times rise strictly, never skip one that lies between, and show what the expression says on the zone's clock unless a gap moved them.
func TestCronInEveryZone(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "Asia/Kathmandu", "America/Sao_Paulo", "Asia/Tehran"}
	rapid.Check(t, func(rt *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(rt, "zone")
		expression := rapid.SampledFrom([]string{"* * * * *", "30 * * * *", "0 0 * * *", "30 2 * * *", "*/15 1-3 * * *", "59 23 * * 0", "0 0 1 * *", "0 */6 * * *"}).Draw(rt, "expression")
		s := parse(t, cron(expression, zone), "2024-01-01T00:00:00Z")
		after := time.Unix(rapid.Int64Range(1262304000, 1893456000).Draw(rt, "after"), rapid.Int64Range(0, 999999999).Draw(rt, "ns"))
		next := s.Next(after)
		if !next.After(after) || next.Second() != 0 || next.Nanosecond() != 0 {
			rt.Fatalf("after %v comes %v", after, next)
		}
		between := after.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(after))-1).Draw(rt, "between")))
		if again := s.Next(between); !again.Equal(next) {
			rt.Fatalf("after %v comes %v, but after %v comes %v", after, next, between, again)
		}
	})
}
