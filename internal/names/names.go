package names

import (
	"strings"

	"biplane.dev/biplane/internal/fault"
)

// Org is what an empty or client-guessed organisation becomes: the SDK derives one from the host name of the endpoint
// ("" for localhost, "127" for 127.0.0.1), so what it sends is never a key.
const Org = "local"

// Root is the name of a run's first action; the SDK tests for it.
const Root = "a0"

// MaxSegment is the longest name, in bytes, accepted for a task, a version or another free name. Longer ones would not
// fit a file name together with a suffix.
const MaxSegment = 200

// MaxRun is the longest run name, in bytes.
const MaxRun = 63

// Project names a project's domain: the scope of runs, tasks and triggers.
type Project struct {
	Org     string
	Project string
	Domain  string
}

// Run names a run within a project's domain.
type Run struct {
	Project
	Name string
}

// Action names an action of a run.
type Action struct {
	Run
	Action string
}

// Attempt names one try of an action. Number starts at 1.
type Attempt struct {
	Action
	Number uint32
}

// Task names a task; Version is empty where all versions are meant.
type Task struct {
	Project
	Name    string
	Version string
}

// Trigger names a trigger of a task.
type Trigger struct {
	Project
	Task string
	Name string
}

func (p Project) String() string { return p.Org + "/" + p.Project + "/" + p.Domain }
func (r Run) String() string     { return r.Project.String() + "/" + r.Name }
func (a Action) String() string  { return a.Run.String() + "/" + a.Action }

// Check accepts value as a name that is safe in a path: 1 to MaxSegment bytes of ASCII letters, digits, '.', '_', '-',
// not starting with a dot or a dash. Everything else (separators, NUL, "%2e", unicode look-alikes) is refused with the field's
// name.
func Check(field, value string) error {
	if value == "" {
		return fault.Invalid(field, "is empty")
	}
	if len(value) > MaxSegment {
		return fault.Invalid(field, "is %d bytes long; at most %d are allowed", len(value), MaxSegment)
	}
	if value[0] == '.' || value[0] == '-' {
		return fault.Invalid(field, "must start with a letter or a digit, got %q", value)
	}
	for i := range len(value) {
		if !segmentByte(value[i]) {
			return fault.Invalid(field, "may hold ASCII letters, digits, '.', '_' and '-' only, got %q", value)
		}
	}
	return nil
}

func segmentByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// CheckLabel accepts value as a DNS label, for what becomes part of a host name: 1 to 63 lower-case letters, digits and '-',
// starting with a letter and not ending in '-'.
func CheckLabel(field, value string) error {
	if err := Check(field, value); err != nil {
		return err
	}
	if len(value) > 63 || !label(value) {
		return fault.Invalid(field, "must be at most 63 lower-case letters, digits and '-', start with a letter and not end in '-', got %q", value)
	}
	return nil
}

func label(value string) bool {
	return value[0] >= 'a' && value[0] <= 'z' && !strings.ContainsAny(value, "._ABCDEFGHIJKLMNOPQRSTUVWXYZ") && value[len(value)-1] != '-'
}

// CheckRun accepts a run's name: a DNS label of at most MaxRun bytes that starts with a letter.
func CheckRun(field, value string) error {
	if err := Check(field, value); err != nil {
		return err
	}
	if len(value) > MaxRun {
		return fault.Invalid(field, "is %d bytes long; a run's name has at most %d", len(value), MaxRun)
	}
	if !label(value) {
		return fault.Invalid(field, "must be lower-case letters, digits and '-', start with a letter and not end in '-', got %q", value)
	}
	return nil
}

// NewProject checks and normalises the scope of a request. The client's own idea of its organisation is dropped.
func NewProject(project, domain string) (Project, error) {
	if err := Check("project", project); err != nil {
		return Project{}, err
	}
	if err := Check("domain", domain); err != nil {
		return Project{}, err
	}
	return Project{Org: Org, Project: project, Domain: domain}, nil
}

// NewRun checks and normalises a run's identifier.
func NewRun(project, domain, name string) (Run, error) {
	scope, err := NewProject(project, domain)
	if err != nil {
		return Run{}, err
	}
	if err := CheckRun("run.name", name); err != nil {
		return Run{}, err
	}
	return Run{Project: scope, Name: name}, nil
}

// NewAction checks and normalises an action's identifier.
func NewAction(project, domain, run, action string) (Action, error) {
	id, err := NewRun(project, domain, run)
	if err != nil {
		return Action{}, err
	}
	if err := Check("action.name", action); err != nil {
		return Action{}, err
	}
	return Action{Run: id, Action: action}, nil
}
