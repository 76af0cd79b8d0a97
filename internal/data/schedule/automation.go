package schedule

import (
	"time"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
)

// Schedule says when a trigger fires.
type Schedule interface {
	// Next is the first time after the given instant; zero when there is none.
	Next(after time.Time) time.Time
}

// never is the schedule of a trigger that is fired on demand only.
type never struct{}

func (never) Next(time.Time) time.Time { return time.Time{} }

// Parse reads how a trigger fires by itself. from is when it was activated: a fixed rate without a start time counts from
// there. Errors are faults that name the field: KindInvalid, or KindUnsupported for artifact triggers.
func Parse(spec *task.TriggerAutomationSpec, from time.Time) (Schedule, error) {
	if spec.GetArtifact() != nil || spec.GetType() == task.TriggerAutomationSpecType_TYPE_ARTIFACT {
		return nil, &fault.Fault{Kind: fault.KindUnsupported, Field: "automation_spec.artifact",
			Message: "triggers on artifacts are not served; use a schedule, or fire the trigger on demand"}
	}
	schedule := spec.GetSchedule()
	switch spec.GetType() {
	case task.TriggerAutomationSpecType_TYPE_NONE, task.TriggerAutomationSpecType_TYPE_UNSPECIFIED:
		if schedule == nil {
			return never{}, nil
		}
		if spec.GetType() == task.TriggerAutomationSpecType_TYPE_NONE {
			return nil, fault.Invalid("automation_spec.type", "is TYPE_NONE, but a schedule is given")
		}
	case task.TriggerAutomationSpecType_TYPE_SCHEDULE:
	default:
		return nil, fault.Invalid("automation_spec.type", "%d is not a type of automation", int32(spec.GetType()))
	}
	switch expression := schedule.GetExpression().(type) {
	case *task.Schedule_Cron:
		return parseCron("automation_spec.schedule.cron", expression.Cron.GetExpression(), expression.Cron.GetTimezone())
	case *task.Schedule_CronExpression:
		zone, text := splitZone(expression.CronExpression)
		return parseCron("automation_spec.schedule.cron_expression", text, zone)
	case *task.Schedule_Rate:
		return parseRate(expression.Rate, from)
	default:
		return nil, fault.Invalid("automation_spec.schedule", "has no expression; give a cron or a rate")
	}
}

// rate fires at first, first+every, first+2*every and so on.
type rate struct {
	first time.Time
	every time.Duration
}

// longestRate and the years of a start time keep all arithmetic far from overflow.
const longestRate = 10 * 365 * 24 * time.Hour

var rateUnits = map[task.FixedRateUnit]time.Duration{
	task.FixedRateUnit_FIXED_RATE_UNIT_MINUTE: time.Minute,
	task.FixedRateUnit_FIXED_RATE_UNIT_HOUR:   time.Hour,
	task.FixedRateUnit_FIXED_RATE_UNIT_DAY:    24 * time.Hour,
}

func parseRate(r *task.FixedRate, from time.Time) (Schedule, error) {
	unit, ok := rateUnits[r.GetUnit()]
	if !ok {
		return nil, fault.Invalid("automation_spec.schedule.rate.unit", "%s is not a unit; use minutes, hours or days", r.GetUnit())
	}
	if r.GetValue() == 0 || time.Duration(r.GetValue()) > longestRate/unit {
		return nil, fault.Invalid("automation_spec.schedule.rate.value", "is %d; it must be at least 1 and mean at most ten years", r.GetValue())
	}
	every := time.Duration(r.GetValue()) * unit
	if start := r.GetStartTime(); start != nil {
		at := start.AsTime()
		if !start.IsValid() || at.Year() < 1970 || at.Year() > 2200 {
			return nil, fault.Invalid("automation_spec.schedule.rate.start_time", "is not between the years 1970 and 2200")
		}
		return rate{first: at.Truncate(time.Microsecond), every: every}, nil // what a row can hold
	}
	return rate{first: from.UTC().Truncate(time.Second).Add(every), every: every}, nil
}

func (r rate) Next(after time.Time) time.Time {
	if after.Before(r.first) {
		return r.first
	}
	return r.first.Add((after.Sub(r.first)/r.every + 1) * r.every)
}
