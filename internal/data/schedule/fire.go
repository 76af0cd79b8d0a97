package schedule

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/names"
)

// Fire is a run that a trigger asks for.
type Fire struct {
	Run       names.Run // derived from the trigger and At: creating it again is creating the same
	Trigger   names.Trigger
	Revision  uint64     // of the trigger
	Task      names.Task // with the version that the trigger was deployed with
	RunSpec   *task.RunSpec
	Inputs    *task.Inputs               // nil when Offloaded is set
	Offloaded *common.OffloadedInputData // the inputs already lie in the bucket
	// At is the time that the trigger stands for, which is the run's start time even when it fires late.
	At time.Time
	// KickoffArg is the task's input that takes At; empty when none does.
	KickoffArg string
	Automation *task.TriggerAutomationSpec
}

// Runs starts the runs of fires. The gateway implements it.
type Runs interface {
	// Fire creates the run. A fault of KindExists means that it was created before, and counts as success. Faults of
	// KindUnavailable, KindExhausted, KindDeadline and KindInternal are tried again; any other is final for this time.
	Fire(ctx context.Context, fire Fire) error
}

// RunName is the name of the run of a trigger for a time: 120 bits of a hash, as short as the SDK's own names.
func RunName(trigger names.Trigger, at time.Time) string {
	key := strings.Join([]string{trigger.Org, trigger.Project.Project, trigger.Domain, trigger.Task, trigger.Name, strconv.FormatInt(at.UnixNano(), 10)}, "/")
	sum := sha256.Sum256([]byte(key))
	return "t" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15]))
}
