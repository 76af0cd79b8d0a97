package plane_test

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/task"
)

// badNames are what no name may be. Each is one that some file system, shell, browser or reader takes for something else.
var badNames = map[string]string{
	"parent folder":        "..",
	"above":                "../../escape",
	"encoded":              "%2e%2e",
	"encoded above":        "%2e%2e%2fescape",
	"encoded twice":        "%252e%252e%252fescape",
	"absolute":             "/escape",
	"home":                 "~/escape",
	"backslashes":          `..\..\escape`,
	"of a file":            "file:///escape",
	"of another store":     "s3://escape/x",
	"NUL":                  "a0\x00escape",
	"line feed":            "a0\nescape",
	"overlong":             strings.Repeat("a", 5000),
	"full-width dots":      "．．／escape",
	"two dot leader":       "‥/escape",
	"division slash":       "a∕escape",
	"Cyrillic a":           "а0",
	"with an invisible":    "a0\u200b",
	"right to left":        "a0\u202epb",
	"combining characters": "a\u0338",
}

// badPlaces are what no folder may be that a client names, though it is free to name any absolute one.
var badPlaces = map[string]string{
	"relative":         "escape",
	"above":            "../escape",
	"climbing":         "BASE/../../escape",
	"encoded":          "BASE/%2e%2e/escape",
	"NUL":              "BASE\x00/escape",
	"line feed":        "BASE\n/escape",
	"overlong":         "BASE/" + strings.Repeat("a/", 2500),
	"overlong segment": "BASE/" + strings.Repeat("a", 300),
	"doubled slash":    "BASE//escape",
	"here":             "BASE/./escape",
	"backslash":        `BASE\..\escape`,
	"no scheme at all": "://escape",
	"with a query":     "s3://base/x?escape",
	"climbing a store": "s3://base/../escape",
	"full-width dots":  "BASE/．．/escape",
	"two dot leader":   "BASE/‥/escape",
	"division slash":   "BASE/a∕escape",
	"invisible":        "BASE/a\u200b/escape",
}

// places are the strings that are folders or addresses rather than names, as globs over "Method/way" (see matches).
var places = []string{
	"*/*run_base_dir", "*/*raw_data_prefix", "UploadInputs/base_dir", "*/*offloaded_input_data.uri", "Enqueue/action.input_uri",
	"Enqueue/action.run_output_base", "Enqueue/action.trace.outputs.output_uri", "*Settings/settings.run.run_base_dir.string_value",
	"*Settings/settings.storage.raw_data_path.string_value",
}

// free are the strings that may hold anything, because nothing makes a path, a key or an identifier of them. A string that is
// not named here must be refused when it is hostile: who adds a field has to decide.
var free = []struct{ why, globs string }{
	{"what a client takes for its organisation is dropped", "*.org *.organization flyteidl2.common.OrgIdentifier.name"},
	{"a plane is one cluster, whatever is asked for, and its images are everybody's", "SelectCluster/* GetImage/project_id*"},
	{"the content of a task and of its inputs is stored and handed on; no place of the plane's is made of it",
		`flyteidl2.core.* google.protobuf.Struct* google.protobuf.Value.* flyteidl2.task.TaskSpec.short_name flyteidl2.task.SourceCode.link
		flyteidl2.task.Environment.* flyteidl2.task.DocumentationEntity.* flyteidl2.task.NamedLiteral.name flyteidl2.task.NamedParameter.name`},
	{"text for people and for their own filters", `*/reason */*description */*prompt *.short_description Abort/aborted_by* Signal/signalled_by*
		flyteidl2.task.Labels.* flyteidl2.task.Annotations.* flyteidl2.common.Filter.values flyteidl2.project.Project.name
		*Settings/settings.labels* *Settings/settings.annotations* Enqueue/action.group Enqueue/action.condition.name Enqueue/action.trace.name`},
	{"a value", `flyteidl2.workflow.EventPayload.string_value flyteidl2.secret.SecretSpec.string_value
		*Settings/settings.environment_variables.map_value.entries.value`},
	{"goes into the hash that is a cache key", "flyteidl2.common.OffloadedInputData.inputs_hash Enqueue/action.task.cache_key.value"},
	{"nothing reads it", `flyteidl2.notification.* flyteidl2.task.InlineRule.* *.notification_rule_name *.cluster_pool flyteidl2.task.DefaultSettings.*
		Enqueue/run_spec* Enqueue/action.task.id* */*image_build_run* Enqueue/action.recovered_from* Enqueue/action.subject *.report_uri TailLogs/pod_name TailLogs/connector_endpoint
		ListSecrets/per_cluster_tokens* CreateProject/project.domains* *Settings/settings.security*
		*Settings/settings.app.* *Settings/settings.pod_template_name.*`},
}

// unserved are refused whatever is in them.
var unserved = strings.Fields(`WatchRuns/cluster_id* CreateDownloadLink/app_id* UpdateProject/project.domains* */*raw_filters
	*/*automation_spec.artifact* ListTasks/known_filters.deployed_by WatchActions/filter*`)

// files are the names of files of users', in which every script is welcome.
var files = []string{"CreateUploadLocation/filename*"}

// badFiles are bad as names of files.
var badFiles = func() map[string]string {
	bad := maps.Clone(badNames)
	for _, good := range []string{"home", "Cyrillic a", "combining characters"} {
		delete(bad, good)
	}
	return bad
}()

// matches compares with a glob in which * stands for anything, or with the full name of the field.
func matches(glob string, m method, w way) bool {
	for _, name := range []string{string(m.Name()) + "/" + w.String(), string(w.last().FullName())} {
		if ok, _ := path.Match(strings.ReplaceAll(glob, "/", "|"), strings.ReplaceAll(name, "/", "|")); ok {
			return true
		}
	}
	return false
}

func among(globs []string, m method, w way) bool {
	return slices.ContainsFunc(globs, func(glob string) bool { return matches(glob, m, w) })
}

func isFree(m method, w way) bool {
	for _, reason := range free {
		if among(strings.Fields(reason.globs), m, w) {
			return true
		}
	}
	return false
}

// Whatever is put into whichever string of whichever request: a hostile name is refused, with a text about that string, and
// nothing is different on disk.
func TestHostileNames(t *testing.T) {
	b := start(t)
	b.parent("held")
	b.enqueue(b.condition("held", "gate"))
	for _, deploy := range []*task.DeployTaskRequest{{TaskId: samples["flyteidl2.task.TaskIdentifier"].(*task.TaskIdentifier), Spec: sleepSpec(),
		Triggers: []*task.TaskTrigger{samples["flyteidl2.task.TaskTrigger"].(*task.TaskTrigger)}}} {
		_, err := b.tasks.DeployTask(t.Context(), deploy)
		wantOK(t, "deploy a task", err)
	}
	bases := b.bases()
	type refusal struct {
		method method
		way    way
		told   answer
	}
	var refused []refusal
	var open []refusal
	methods := b.served()
	before := b.snapshot()
	for _, m := range methods {
		seen := map[string]bool{}
		stringsIn(m.Input(), func(w way) {
			if isFree(m, w) {
				if !seen[string(w.last().FullName())] {
					seen[string(w.last().FullName())] = true
					open = append(open, refusal{method: m, way: w})
				}
				return
			}
			bad := badNames
			switch {
			case among(places, m, w):
				bad = badPlaces
			case among(files, m, w):
				bad = badFiles
			}
			accepted := map[string][]string{}
			for what, value := range bad {
				request := base(m, bases)
				put(request, w, strings.ReplaceAll(value, "BASE", b.runBase("held")))
				told := b.call(m, request, time.Second)
				if told.code != "invalid_argument" && told.code != "not_found" && (told.code != "unimplemented" || !among(unserved, m, w)) {
					how := told.code + " " + told.text
					accepted[how] = append(accepted[how], what)
					continue
				}
				refused = append(refused, refusal{m, w, told})
			}
			for how, what := range accepted {
				t.Errorf("%s/%s (%s): %d answered %q: %s", m.Name(), w, w.last().FullName(), len(what), how, strings.Join(what, ", "))
			}
			if len(accepted) > 0 {
				before = b.snapshot()
			} else {
				b.unchanged(before, string(m.Name())+"/"+w.String())
			}
		})
	}
	t.Logf("%d refusals, %d free strings", len(refused), len(open))
	// What was refused was refused for that string: with a good one the answer is another.
	for i, r := range refused {
		if among(unserved, r.method, r.way) || i > 0 && refused[i-1].way.String() == r.way.String() && refused[i-1].method == r.method {
			continue
		}
		request := base(r.method, bases)
		good := "other"
		if among(places, r.method, r.way) {
			good = b.runBase("held") + "/other"
		}
		if r.way.last().Name() == "token" {
			good = "" // all that is good without a page before
		}
		put(request, r.way, good)
		if told := b.call(r.method, request, 300*time.Millisecond); told == r.told {
			t.Errorf("%s/%s: a good name too is answered %s %q, so that says nothing about bad ones", r.method.Name(), r.way, told.code, told.text)
		}
	}
	for _, r := range open {
		request := base(r.method, bases)
		put(request, r.way, "../../escape")
		if told := b.call(r.method, request, 300*time.Millisecond); slices.Contains([]string{"internal", "unknown", "data_loss"}, told.code) {
			t.Errorf("%s/%s: answered %s %q", r.method.Name(), r.way, told.code, told.text)
		}
	}
	for path := range b.snapshot() {
		if strings.Contains(path, "escape") {
			t.Errorf("a hostile name became the path %s", path)
		}
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(b.state), "escape")); err == nil {
		t.Error("a file was written beside the state folder")
	}
}
