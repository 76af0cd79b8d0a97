package ledger

import (
	"embed"
	"io/fs"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the ledger's tables.
func Migrations() store.Migrations {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return store.Migrations{Part: "ledger", Files: files}
}

// Ledger reads the record.
type Ledger struct{ db store.DB }

// New reads from a database that was opened with Migrations.
func New(db store.DB) *Ledger { return &Ledger{db: db} }

// Run is one run, as last reported. Times are microseconds since 1970 UTC, 0 for "not yet".
type Run struct {
	ID          int64 // the ledger's own number
	Org         string
	Plane       string
	Project     string
	Domain      string
	Name        string
	Task        string
	TaskVersion string
	Phase       linkv1.Phase
	Created     int64
	Started     int64
	Ended       int64
	Attempts    uint32
	ErrorCode   string
	ExitClass   linkv1.ExitClass
	Source      linkv1.RunSource
	Trigger     string
	Relation    linkv1.Relation
	RelatedTo   string
	CreatedBy   string
	AbortedBy   string
}

// Action is one action, as last reported.
type Action struct {
	Name        string
	Parent      string
	Kind        linkv1.ActionKind
	ShortName   string
	Task        string
	TaskVersion string
	Phase       linkv1.Phase
	Attempt     uint32
	Created     int64
	Started     int64
	Ended       int64
	CacheStatus linkv1.CacheStatus
	ErrorCode   string
	ExitClass   linkv1.ExitClass
	InputsURI   string
	OutputsURI  string
	Reason      linkv1.Reason
}

// Ended says whether nothing comes after the phase.
func Ended(phase linkv1.Phase) bool {
	switch phase {
	case linkv1.Phase_PHASE_SUCCEEDED, linkv1.Phase_PHASE_FAILED, linkv1.Phase_PHASE_ABORTED, linkv1.Phase_PHASE_TIMED_OUT, linkv1.Phase_PHASE_RECOVERED:
		return true
	default:
		return false
	}
}

// endedPhases is Ended for SQL.
const endedPhases = `(5, 6, 7, 8, 10)`
