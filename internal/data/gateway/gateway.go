package gateway

import (
	"context"
	"log/slog"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/settings"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/trigger"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/engine/shell"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/recent"
)

// Names is what the gateway asks the registry.
type Names interface {
	// Accepts is a fault when the project does not exist or takes no new runs.
	Accepts(ctx context.Context, id names.Project) error
	Task(ctx context.Context, id names.Task) (spec *task.TaskSpec, digest string, err error)
	Latest(ctx context.Context, id names.Task) (names.Task, error)
	Trigger(ctx context.Context, name *common.TriggerName) (*trigger.TriggerDetails, error)
	// Effective are the settings that hold in the scope, the narrow ones over the broad.
	Effective(ctx context.Context, id names.Project) (*settings.Settings, error)
}

// Signer makes URLs under which an object can be read or written for a while.
type Signer interface {
	SignPut(key objects.Key, expires time.Duration, length int64, md5 *[16]byte) (url string, headers map[string]string, until time.Time, err error)
	SignGet(key objects.Key, expires time.Duration) (url string, until time.Time, err error)
}

// Config of the gateway.
type Config struct {
	Shell   *shell.Shell
	Journal *journal.Journal
	Names   Names
	Bucket  objects.Bucket
	Signer  Signer
	Logs    logs.Store
	// Local turns the address of a raw object into one that a client on this machine can read; nil leaves all as they are.
	Local func(uri string) string
	// CheckRaw refuses places for raw data that this plane serves itself and tasks cannot write to; nil refuses none.
	CheckRaw func(uri string) error
	// CheckBuild refuses the inputs of an image build that cannot succeed; nil refuses none.
	CheckBuild func(ctx context.Context, inputs *task.Inputs) error
	Log        *slog.Logger
	// MaxInputs is the largest set of inputs accepted, in bytes.
	MaxInputs int64
	Now       func() time.Time
}

// Gateway holds what the services share.
type Gateway struct {
	Config
	facts  *recent.Cache[*engine.Task]   // by digest
	specs  *recent.Cache[*task.TaskSpec] // by digest
	scopes *recent.Cache[scope]          // by run
}

// New makes a gateway.
func New(config Config) *Gateway {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.MaxInputs == 0 {
		config.MaxInputs = 128 << 20
	}
	return &Gateway{
		Config: config,
		facts:  recent.New[*engine.Task](1024), specs: recent.New[*task.TaskSpec](256), scopes: recent.New[scope](1024),
	}
}

func runID(field string, id *common.RunIdentifier) (names.Run, error) {
	if id == nil {
		return names.Run{}, fault.Invalid(field, "is missing")
	}
	return names.NewRun(id.GetProject(), id.GetDomain(), id.GetName())
}

func actionID(field string, id *common.ActionIdentifier) (names.Action, error) {
	if id.GetRun() == nil {
		return names.Action{}, fault.Invalid(field, "is missing")
	}
	return names.NewAction(id.GetRun().GetProject(), id.GetRun().GetDomain(), id.GetRun().GetName(), id.GetName())
}

func projectID(id *common.ProjectIdentifier) (names.Project, error) {
	return names.NewProject(id.GetName(), id.GetDomain())
}

func protoRun(id names.Run) *common.RunIdentifier {
	return &common.RunIdentifier{Org: id.Org, Project: id.Project.Project, Domain: id.Domain, Name: id.Name}
}

func protoAction(run names.Run, action string) *common.ActionIdentifier {
	return &common.ActionIdentifier{Run: protoRun(run), Name: action}
}
