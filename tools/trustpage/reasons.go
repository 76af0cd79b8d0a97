package main

import "google.golang.org/protobuf/reflect/protoreflect"

// A reason says why the control plane gets a message, and how an operator sees what it got.
type reason struct{ why, check string }

const (
	byRuns   = "`biplane runs --json` and `biplane run NAME --json` show all that was kept."
	byPlanes = "`biplane planes --json` shows all that was kept."
	byCursor = "the table `cursors` of the control plane's database holds what was kept of it."
)

// reasons of every message that a data plane can send, by its name.
var reasons = map[protoreflect.Name]reason{
	"FromPlane":       {"it is the one envelope of everything below.", "the two planes share no other message: `internal/link` is all that both link, which `go test .` holds."},
	"Hello":           {"both ends must agree from where to go on, and notice a database that was put back to an older state.", byCursor},
	"Life":            {"without it a restored backup could not be told from the database that it was made of.", byCursor},
	"Health":          {"the operator sees whether a plane is alive, how full it is and how far the ledger is behind.", byPlanes},
	"Events":          {"the ledger is a copy of states, so that runs can be listed while the plane is away.", byRuns},
	"Event":           {"it is the envelope of one state, with its number: each is applied once.", byRuns},
	"RunState":        {"runs are listed, counted and shown, also while their plane is away.", byRuns},
	"RunID":           {"a run is found by its name.", byRuns},
	"ActionState":     {"a run's progress is shown, and with it why an action waits.", "`biplane run NAME --json` shows all that was kept."},
	"ActionID":        {"an action is found by its name.", "`biplane run NAME --json` shows all that was kept."},
	"AttemptState":    {"retries, their time and the memory that they took are known while the plane is away.", "the table `attempts` of the control plane's database."},
	"TaskState":       {"the catalog tells which tasks are deployed; their specification stays in the plane.", "the table `tasks` of the control plane's database."},
	"TaskID":          {"a task is found by its name.", byRuns},
	"TriggerState":    {"the catalog tells which triggers are active and when they fire; their inputs stay in the plane.", "the table `triggers` of the control plane's database."},
	"TriggerID":       {"a run says which trigger made it.", byRuns},
	"ProjectState":    {"projects are listed; description and labels stay in the plane.", "the table `projects` of the control plane's database."},
	"CommandsApplied": {"an order of the control plane is sent again until it is known to be done.", byPlanes},
}

// examples by message and field, or by the field's name alone. Text needs one.
var examples = map[string]string{
	"org":               "local",
	"project":           "flytesnacks",
	"domain":            "development",
	"domains":           "development",
	"version":           "3f1c9a",
	"short_name":        "main",
	"environment":       "hello_env",
	"deployed_by":       "ada",
	"created_by":        "ada",
	"aborted_by":        "ada",
	"by":                "ada",
	"error_code":        "ValueError",
	"parent":            "a0",
	"inputs_uri":        "file:///var/lib/biplane/bucket/…/inputs.pb",
	"outputs_uri":       "file:///var/lib/biplane/bucket/…/outputs.pb",
	"task":              "hello_env.main",
	"task_version":      "3f1c9a",
	"cpu_us":            "1250000",
	"cpu_millis":        "4000",
	"cpu_millis_used":   "2500",
	"head":              "81734",
	"through":           "81734",
	"seq":               "81734",
	"began_at":          "81734",
	"cursor":            "12",
	"Life.id":           "5Q2WJ3V7…",
	"Health.version":    "0.4.0",
	"RunID.name":        "r4ttz8",
	"ActionID.name":     "b2x9",
	"TaskID.name":       "hello_env.main",
	"TriggerID.name":    "nightly",
	"ProjectState.name": "Flyte snacks",
	"ProjectState.id":   "flytesnacks",
}
