package registry_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/trigger"
	"biplane.dev/biplane/internal/data/registry"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// told is what the link would send of everything after a number.
func (p plane) told(t *testing.T, after int64) (all []*linkv1.Event) {
	t.Helper()
	err := p.db.Read(t.Context(), func(tx store.Tx) error {
		for _, tell := range []func(store.Tx, int64, int) ([]*linkv1.Event, error){registry.ProjectEvents, registry.TaskEvents, registry.TriggerEvents} {
			events, err := tell(tx, after, 100)
			if err != nil {
				return err
			}
			all = append(all, events...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range all {
		if cleared := link.Scrub(event); cleared != nil {
			t.Errorf("does not look like its class: %v", cleared)
		}
	}
	return all
}

func TestLinkEvents(t *testing.T) {
	t.Parallel()
	p := serve(t)
	const marker = "content-that-stays-here"
	fresh := p.told(t, 0)
	if len(fresh) != 2 || fresh[0].GetProject().GetId() != "flytesnacks" || len(fresh[0].GetProject().GetDomains()) != 3 {
		t.Fatalf("at first: %v", fresh)
	}
	head := p.db.Seq()

	made := &project.Project{Id: "weather", Name: "Weather", Description: marker, Labels: &task.Labels{Values: map[string]string{marker: marker}}}
	if _, err := p.projects.CreateProject(t.Context(), &project.CreateProjectRequest{Project: made}); err != nil {
		t.Fatal(err)
	}
	told := p.told(t, head)
	if len(told) != 1 || told[0].GetProject().GetName() != "Weather" || told[0].GetProject().GetArchived() || told[0].GetProject().GetCreatedUs() == 0 {
		t.Errorf("a new project: %v", told)
	}
	head = told[0].GetSeq()
	made.State = project.ProjectState_PROJECT_STATE_ARCHIVED
	if _, err := p.projects.UpdateProject(t.Context(), &project.UpdateProjectRequest{Project: made}); err != nil {
		t.Fatal(err)
	}
	if told = p.told(t, head); len(told) != 1 || !told[0].GetProject().GetArchived() {
		t.Errorf("an archived project: %v", told)
	}

	head = p.db.Seq()
	nightly := withTrigger("nightly", true, cron("30 2 * * *", "Europe/Berlin", ""))
	nightly.Spec.Description, nightly.Spec.RunSpec = marker, &task.RunSpec{Annotations: &task.Annotations{Values: map[string]string{"note": marker}}}
	button := withTrigger("button", true, nil)
	content := spec("one")
	content.Documentation = &task.DocumentationEntity{ShortDescription: marker}
	if _, err := p.tasks.DeployTask(t.Context(), &task.DeployTaskRequest{
		TaskId: taskID("hello.main", "v1"), Spec: content, Triggers: []*task.TaskTrigger{nightly, button},
	}); err != nil {
		t.Fatal(err)
	}
	told = p.told(t, head)
	if len(told) != 3 {
		t.Fatalf("a deployment: %v", told)
	}
	if id := told[0].GetTask().GetId(); id.GetOrg() != names.Org || id.GetName() != "hello.main" || id.GetVersion() != "v1" || told[0].GetTask().GetDeployedUs() == 0 {
		t.Errorf("the task: %v", told[0])
	}
	triggers := map[string]*linkv1.TriggerState{}
	for _, event := range told[1:] {
		triggers[event.GetTrigger().GetId().GetName()] = event.GetTrigger()
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	cronState := triggers["nightly"]
	next := time.UnixMicro(cronState.GetNextFireUs()).In(berlin)
	if cronState.GetKind() != linkv1.TriggerKind_TRIGGER_KIND_CRON || !cronState.GetActive() || cronState.GetRevision() != 1 ||
		cronState.GetTaskVersion() != "v1" || next.Hour() != 2 && next.Hour() != 3 || !next.After(time.Now()) {
		t.Errorf("the cron trigger: %v", cronState)
	}
	if s := triggers["button"]; s.GetKind() != linkv1.TriggerKind_TRIGGER_KIND_ON_DEMAND || s.GetNextFireUs() != 0 {
		t.Errorf("the trigger on demand: %v", s)
	}

	// A fire, a deactivation and a deletion.
	head = p.db.Seq()
	id := names.Trigger{Project: names.Project{Org: names.Org, Project: "flytesnacks", Domain: "development"}, Task: "hello.main", Name: "nightly"}
	if err := p.registry.Mark(t.Context(), []schedule.Mark{{ID: id, Settled: next, Fired: next}}); err != nil {
		t.Fatal(err)
	}
	if told = p.told(t, head); len(told) != 1 || told[0].GetTrigger().GetLastFiredUs() != next.UnixMicro() || told[0].GetTrigger().GetNextFireUs() <= next.UnixMicro() {
		t.Errorf("after a fire: %v", told)
	}
	name := &common.TriggerName{Project: "flytesnacks", Domain: "development", TaskName: "hello.main", Name: "nightly"}
	if _, err := p.triggers.UpdateTriggers(t.Context(), &trigger.UpdateTriggersRequest{Names: []*common.TriggerName{name}}); err != nil {
		t.Fatal(err)
	}
	if told = p.told(t, head); len(told) != 1 || told[0].GetTrigger().GetActive() || told[0].GetTrigger().GetNextFireUs() != 0 {
		t.Errorf("turned off: %v", told)
	}
	if _, err := p.triggers.DeleteTriggers(t.Context(), &trigger.DeleteTriggersRequest{Names: []*common.TriggerName{name}}); err != nil {
		t.Fatal(err)
	}
	if told = p.told(t, head); len(told) != 1 || !told[0].GetTrigger().GetDeleted() {
		t.Errorf("deleted: %v", told)
	}

	for _, event := range p.told(t, 0) {
		raw, err := proto.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), marker) {
			t.Errorf("content would cross: %v", event)
		}
	}
}
