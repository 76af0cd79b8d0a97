package runner

import (
	"time"

	"biplane.dev/biplane/internal/data/logs"
)

// The files of an attempt's folder, which is the runner's working directory.
const (
	LockFile   = "lock"       // locked while a runner is alive
	TaskFile   = "task.json"  // a Task: the process was started
	ExitFile   = "exit.json"  // a Record: everything is over; nothing starts here any more
	StopFile   = "stop"       // why the attempt is to be stopped, written before the signal
	OutputFile = "runner.log" // the runner's own standard error
	WorkDir    = "work"       // the task's working directory
	SeedDir    = "seed"       // becomes WorkDir when it is there
	SecretsDir = "secrets"    // the task's secret files
	partSuffix = ".part"      // of a record that is not written yet
)

// Exit codes of the runner itself.
const (
	CodeDone  = 0 // the record is written or reported
	CodeFault = 2 // it could not work: no spec, no folder
	CodeTaken = 3 // another runner has this attempt, or had it: nothing was started
)

// Spec is what a runner is told, as JSON on its standard input.
type Spec struct {
	Args        []string      `json:"args"`
	Env         []string      `json:"env"` // KEY=VALUE, the task's whole environment
	Files       []File        `json:"files,omitempty"`
	MemoryLimit int64         `json:"memoryLimit,omitempty"` // bytes, 0 is none
	CPUMillis   int64         `json:"cpuMillis,omitempty"`   // 0 counts as 1000
	Grace       time.Duration `json:"grace"`                 // between SIGTERM and SIGKILL
	Log         string        `json:"log"`                   // absolute path of the log file
	LogLimits   logs.Limits   `json:"logLimits"`
	PlaneLock   string        `json:"planeLock"`   // absolute path; locked while a plane is alive
	OrphanGrace time.Duration `json:"orphanGrace"` // how long to go on without a plane
	Cgroup      string        `json:"cgroup,omitempty"`
}

// File is a secret to place below SecretsDir.
type File struct {
	Path    string `json:"path"`
	Content []byte `json:"content"`
}

// Task is the process of an attempt, as kept in TaskFile. Boot and Ticks make PID unmistakable after it was used again.
type Task struct {
	PID    int       `json:"pid"`
	Ticks  uint64    `json:"ticks,omitempty"` // start time since boot, in the kernel's ticks; 0 where not known
	Boot   string    `json:"boot,omitempty"`
	Cgroup string    `json:"cgroup,omitempty"`
	At     time.Time `json:"at"`
}

// Record says how an attempt ended, as kept in ExitFile.
type Record struct {
	Code        int           `json:"code"` // -1 when ended by a signal or never started
	Signal      string        `json:"signal,omitempty"`
	OutOfMemory bool          `json:"outOfMemory,omitempty"`
	Stopped     bool          `json:"stopped,omitempty"`
	Orphaned    bool          `json:"orphaned,omitempty"` // ended because no plane was alive
	Lost        bool          `json:"lost,omitempty"`     // written by the plane in place of a runner that vanished
	StartError  string        `json:"startError,omitempty"`
	BadCommand  bool          `json:"badCommand,omitempty"` // what StartError says is wrong with the command itself
	Started     time.Time     `json:"started,omitzero"`
	Ended       time.Time     `json:"ended"`
	PeakMemory  int64         `json:"peakMemory,omitempty"`
	CPU         time.Duration `json:"cpu,omitempty"`
	Log         logs.Summary  `json:"log"`
}

// Report is what a runner writes to its standard output for the plane that started it, one JSON value each: first Task when the
// process was started, then Exit. The files say the same; the pipe is faster, and works when the disk is full.
type Report struct {
	Task *Task   `json:"task,omitempty"`
	Exit *Record `json:"exit,omitempty"`
}
