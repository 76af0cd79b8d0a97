package registry_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/trigger"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

func cron(expression, zone, kickoff string) *task.TriggerAutomationSpec {
	return &task.TriggerAutomationSpec{
		Type: task.TriggerAutomationSpecType_TYPE_SCHEDULE,
		Automation: &task.TriggerAutomationSpec_Schedule{Schedule: &task.Schedule{
			Expression:          &task.Schedule_Cron{Cron: &task.Cron{Expression: expression, Timezone: zone}},
			KickoffTimeInputArg: kickoff,
		}},
	}
}

func withTrigger(name string, active bool, automation *task.TriggerAutomationSpec) *task.TaskTrigger {
	return &task.TaskTrigger{Name: name, Spec: &task.TaskTriggerSpec{Active: active, Description: "says " + name}, AutomationSpec: automation}
}

func named(name string) *common.TriggerName {
	return &common.TriggerName{Org: "127", Project: "flytesnacks", Domain: "development", TaskName: "hello.main", Name: name}
}

func listTriggers(t *testing.T, p plane, request *trigger.ListTriggersRequest) []string {
	t.Helper()
	if request.Request == nil {
		request.Request = &common.ListRequest{SortBy: &common.Sort{Key: "name", Direction: common.Sort_ASCENDING}}
	}
	var got []string
	for _, one := range must[*trigger.ListTriggersResponse](t)(p.triggers.ListTriggers(t.Context(), request)).GetTriggers() {
		got = append(got, fmt.Sprint(one.GetId().GetName().GetName(), " ", one.GetActive()))
	}
	return got
}

func ofTask(version string) *trigger.ListTriggersRequest {
	return &trigger.ListTriggersRequest{ScopeBy: &trigger.ListTriggersRequest_TaskId{TaskId: taskID("hello.main", version)}}
}

func TestTriggersFollowTheDeploymentOfTheirTask(t *testing.T) {
	t.Parallel()
	p := serve(t)
	hourly := cron("0 * * * *", "UTC", "at")
	deploy(t, p, "hello.main", "v1", "one", withTrigger("a", true, hourly), withTrigger("b", false, hourly), withTrigger("c", true, nil))
	equal(t, "first", listTriggers(t, p, ofTask("")), []string{"a true", "b false", "c true"})
	if n := p.changes(func() {
		deploy(t, p, "hello.main", "v1", "one", withTrigger("a", true, hourly), withTrigger("b", false, hourly), withTrigger("c", true, nil))
	}); n != 0 {
		t.Errorf("the same deployment again changed %d rows", n)
	}
	deploy(t, p, "hello.main", "v2", "two", withTrigger("b", true, hourly))
	equal(t, "after a deployment with one", listTriggers(t, p, ofTask("")), []string{"b true"})
	equal(t, "of the old version", listTriggers(t, p, ofTask("v1")), nil)
	equal(t, "of the new version", listTriggers(t, p, ofTask("v2")), []string{"b true"})
	deploy(t, p, "hello.main", "v3", "three")
	equal(t, "after a deployment with none", listTriggers(t, p, ofTask("")), nil)

	// A deployment that is refused leaves the triggers alone.
	deploy(t, p, "hello.main", "v4", "four", withTrigger("a", true, hourly))
	_, err := p.tasks.DeployTask(t.Context(), &task.DeployTaskRequest{TaskId: taskID("hello.main", "v3"), Spec: spec("other")})
	refused(t, err, connect.CodeAlreadyExists)
	equal(t, "after a refused deployment", listTriggers(t, p, ofTask("")), []string{"a true"})

	tasks := must[*task.ListTasksResponse](t)(p.tasks.ListTasks(t.Context(), &task.ListTasksRequest{})).GetTasks()
	if only := tasks[0].GetMetadata().GetTriggersSummary().GetDetails(); only.GetName() != "a" || !only.GetActive() {
		t.Errorf("the task's summary is %v", only)
	}
}

func TestTriggerLife(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	deploy(t, p, "hello.main", "v1", "one")
	deploy(t, p, "hello.main", "v2", "two")
	request := &trigger.DeployTriggerRequest{Name: named("t"), AutomationSpec: cron("0 6 * * *", "Europe/Berlin", ""), Spec: &trigger.TriggerSpec{Active: true, Description: "Every morning."}}
	created := must[*trigger.DeployTriggerResponse](t)(p.triggers.DeployTrigger(ctx, request)).GetTrigger()
	if created.GetId().GetRevision() != 1 || created.GetSpec().GetTaskVersion() != "v2" || created.GetDescription() != "Every morning." || created.GetStatus().GetDeployedAt() == nil {
		t.Errorf("got %v", created)
	}
	activate := func(active bool) {
		t.Helper()
		must[*trigger.UpdateTriggersResponse](t)(p.triggers.UpdateTriggers(ctx, &trigger.UpdateTriggersRequest{Names: []*common.TriggerName{named("t")}, Active: active}))
	}
	activate(false)
	activate(false) // already
	activate(true)
	details := func() *trigger.TriggerDetails {
		t.Helper()
		return must[*trigger.GetTriggerDetailsResponse](t)(p.triggers.GetTriggerDetails(ctx, &trigger.GetTriggerDetailsRequest{Name: named("t")})).GetTrigger()
	}
	if d := details(); d.GetId().GetRevision() != 3 || !d.GetSpec().GetActive() {
		t.Errorf("got %v", d)
	}
	stale := proto.CloneOf(request)
	stale.Revision, stale.AutomationSpec = 2, cron("0 7 * * *", "", "")
	_, err := p.triggers.DeployTrigger(ctx, stale)
	refused(t, err, connect.CodeAborted, "revision 3")
	must[*trigger.DeleteTriggersResponse](t)(p.triggers.DeleteTriggers(ctx, &trigger.DeleteTriggersRequest{Names: []*common.TriggerName{named("t")}}))
	_, err = p.triggers.GetTriggerDetails(ctx, &trigger.GetTriggerDetailsRequest{Name: named("t")})
	refused(t, err, connect.CodeNotFound, `"t"`, "flyte get trigger")

	history := must[*trigger.GetTriggerRevisionHistoryResponse](t)(p.triggers.GetTriggerRevisionHistory(ctx, &trigger.GetTriggerRevisionHistoryRequest{Name: named("t")})).GetTriggers()
	var actions []string
	for _, h := range history {
		actions = append(actions, fmt.Sprint(h.GetId().GetRevision(), h.GetAction()))
	}
	equal(t, "history", actions, []string{"4 TRIGGER_REVISION_ACTION_DELETE", "3 TRIGGER_REVISION_ACTION_ACTIVATE", "2 TRIGGER_REVISION_ACTION_DEACTIVATE", "1 TRIGGER_REVISION_ACTION_DEPLOY"})
	second := must[*trigger.GetTriggerRevisionDetailsResponse](t)(p.triggers.GetTriggerRevisionDetails(ctx, &trigger.GetTriggerRevisionDetailsRequest{Id: &common.TriggerIdentifier{Name: named("t"), Revision: 2}})).GetTrigger()
	if second.GetSpec().GetActive() || second.GetId().GetRevision() != 2 {
		t.Errorf("revision 2 was %v", second)
	}
	if again := must[*trigger.DeployTriggerResponse](t)(p.triggers.DeployTrigger(ctx, request)).GetTrigger(); again.GetId().GetRevision() != 5 {
		t.Errorf("after a deletion revisions go on; got %d", again.GetId().GetRevision())
	}
}

func TestBadTriggers(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	deploy(t, p, "hello.main", "v1", "one", withTrigger("good", true, nil))
	type bad struct {
		change func(*trigger.DeployTriggerRequest)
		code   connect.Code
		words  []string
	}
	automation := func(spec *task.TriggerAutomationSpec) func(*trigger.DeployTriggerRequest) {
		return func(r *trigger.DeployTriggerRequest) { r.AutomationSpec = spec }
	}
	catchUp := func(value string) func(*trigger.DeployTriggerRequest) {
		return func(r *trigger.DeployTriggerRequest) {
			r.Spec.RunSpec = &task.RunSpec{Annotations: &task.Annotations{Values: map[string]string{schedule.CatchUp: value}}}
		}
	}
	cases := []bad{
		{automation(cron("every day", "UTC", "")), connect.CodeInvalidArgument, []string{"automation_spec.schedule.cron.expression"}},
		{automation(cron("0 0 30 2 *", "UTC", "")), connect.CodeInvalidArgument, []string{"automation_spec.schedule.cron.expression", "no such date"}},
		{automation(cron("0 0 * * *", "Mars/Olympus", "")), connect.CodeInvalidArgument, []string{"automation_spec.schedule.cron.timezone", "Mars/Olympus"}},
		{automation(cron("0 0 * * *", "../../etc/passwd", "")), connect.CodeInvalidArgument, []string{"automation_spec.schedule.cron.timezone"}},
		{automation(cron("0 0 * * *", "UTC", "nothing")), connect.CodeInvalidArgument, []string{"kickoff_time_input_arg", "nothing"}},
		{automation(&task.TriggerAutomationSpec{Type: task.TriggerAutomationSpecType_TYPE_ARTIFACT}), connect.CodeUnimplemented, []string{"artifact"}},
		{catchUp("sometimes"), connect.CodeInvalidArgument, []string{"spec.run_spec.annotations", "sometimes"}},
		{func(r *trigger.DeployTriggerRequest) { r.Spec.TaskVersion = "v9" }, connect.CodeNotFound, []string{"v9"}},
		{func(r *trigger.DeployTriggerRequest) { r.Name.TaskName = "nobody" }, connect.CodeNotFound, []string{"nobody"}},
		{func(r *trigger.DeployTriggerRequest) { r.Name.Domain = "moon" }, connect.CodeNotFound, []string{"moon"}},
	}
	for _, name := range badNames {
		cases = append(cases,
			bad{func(r *trigger.DeployTriggerRequest) { r.Name.Name = name }, connect.CodeInvalidArgument, []string{"name.name"}},
			bad{func(r *trigger.DeployTriggerRequest) { r.Name.TaskName = name }, connect.CodeInvalidArgument, []string{"name.task_name"}})
	}
	if n := p.changes(func() {
		for _, c := range cases {
			request := &trigger.DeployTriggerRequest{Name: named("t"), AutomationSpec: cron("0 0 * * *", "UTC", ""), Spec: &trigger.TriggerSpec{}}
			c.change(request)
			_, err := p.triggers.DeployTrigger(ctx, request)
			refused(t, err, c.code, c.words...)
		}
		// Within the deployment of a task the field's place is said.
		_, err := p.tasks.DeployTask(ctx, &task.DeployTaskRequest{TaskId: taskID("hello.main", "v2"), Spec: spec("two"), Triggers: []*task.TaskTrigger{withTrigger("a", true, nil), withTrigger("b", true, cron("x", "", ""))}})
		refused(t, err, connect.CodeInvalidArgument, "triggers[1].automation_spec.schedule.cron.expression")
		_, err = p.tasks.DeployTask(ctx, &task.DeployTaskRequest{TaskId: taskID("hello.main", "v2"), Spec: spec("two"), Triggers: []*task.TaskTrigger{withTrigger("a", true, nil), withTrigger("a", true, nil)}})
		refused(t, err, connect.CodeInvalidArgument, "triggers[1].name")
		// One unknown name among several changes none.
		_, err = p.triggers.UpdateTriggers(ctx, &trigger.UpdateTriggersRequest{Names: []*common.TriggerName{named("good"), named("nobody")}})
		refused(t, err, connect.CodeNotFound, "nobody")
		_, err = p.triggers.DeleteTriggers(ctx, &trigger.DeleteTriggersRequest{Names: []*common.TriggerName{named("good"), named("nobody")}})
		refused(t, err, connect.CodeNotFound, "nobody")
		_, err = p.triggers.UpdateTriggers(ctx, &trigger.UpdateTriggersRequest{})
		refused(t, err, connect.CodeInvalidArgument, "names")
	}); n != 0 {
		t.Errorf("refused requests changed %d rows", n)
	}
}

// What the scheduler sees.
func TestScheduledTriggers(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	select {
	case <-p.registry.Wake():
		t.Fatal("woken before anything changed")
	default:
	}
	annotated := withTrigger("a", true, cron("0 * * * *", "UTC", "at"))
	annotated.Spec.RunSpec = &task.RunSpec{Queue: "gpu", Annotations: &task.Annotations{Values: map[string]string{schedule.CatchUp: "all:7"}}}
	annotated.Spec.InputWrapper = &task.TaskTriggerSpec_OffloadedInputData{OffloadedInputData: &common.OffloadedInputData{Uri: "s3://x/inputs.pb", InputsHash: "h"}}
	deploy(t, p, "hello.main", "v1", "one", annotated, withTrigger("b", false, cron("0 * * * *", "UTC", "")))
	select {
	case <-p.registry.Wake():
	default:
		t.Fatal("not woken by a deployment")
	}
	changed, cursor, err := p.registry.Changed(ctx, 0, 100)
	if err != nil || len(changed) != 2 || !changed[0].Active || changed[1].Active || time.Since(changed[0].From) > time.Minute {
		t.Fatalf("got %v, %v", changed, err)
	}
	if none, same, err := p.registry.Changed(ctx, cursor, 100); err != nil || len(none) != 0 || same != cursor {
		t.Fatalf("got %v, %d, %v", none, same, err)
	}
	at := changed[0].Schedule.Next(changed[0].From)
	fire := must[schedule.Fire](t)(p.registry.Fire(ctx, changed[0].ID, at))
	if fire.Task != (names.Task{Project: development, Name: "hello.main", Version: "v1"}) || fire.RunSpec.GetQueue() != "gpu" || fire.KickoffArg != "at" ||
		fire.Offloaded.GetUri() != "s3://x/inputs.pb" || fire.Inputs != nil || !proto.Equal(fire.RunSpec.GetRunStartTime(), timestamppb.New(at)) || fire.Revision != 1 {
		t.Errorf("got %+v", fire)
	}
	if err := names.CheckRun("run", fire.Run.Name); err != nil || len(fire.Run.Name) > 30 {
		t.Errorf("run name %q: %v", fire.Run.Name, err)
	}
	if _, err := p.registry.Fire(ctx, changed[1].ID, at); !fault.Is(err, fault.KindPrecondition) {
		t.Errorf("an inactive trigger: %v", err)
	}

	if err := p.registry.Mark(ctx, []schedule.Mark{{ID: changed[0].ID, Settled: at, Fired: at}}); err != nil {
		t.Fatal(err)
	}
	marked, cursor, err := p.registry.Changed(ctx, cursor, 100)
	if err != nil || len(marked) != 1 || !marked[0].Settled.Equal(at) || marked[0].Revision != 1 {
		t.Fatalf("got %v, %v", marked, err)
	}
	details := must[*trigger.GetTriggerDetailsResponse](t)(p.triggers.GetTriggerDetails(ctx, &trigger.GetTriggerDetailsRequest{Name: named("a")})).GetTrigger()
	if !details.GetStatus().GetTriggeredAt().AsTime().Equal(at) {
		t.Errorf("triggered at %v", details.GetStatus())
	}

	// A new version keeps the place in an unchanged schedule; turning the trigger off and on does not.
	deploy(t, p, "hello.main", "v2", "two", annotated)
	again, cursor, err := p.registry.Changed(ctx, cursor, 100)
	if err != nil || len(again) != 2 {
		t.Fatalf("got %v, %v", again, err)
	}
	index := slices.IndexFunc(again, func(t schedule.Trigger) bool { return t.ID.Name == "a" })
	if kept := again[index]; !kept.From.Equal(changed[0].From) || !kept.Settled.Equal(at) || kept.Revision != 2 {
		t.Errorf("got %v", kept)
	}
	for _, active := range []bool{false, true} {
		must[*trigger.UpdateTriggersResponse](t)(p.triggers.UpdateTriggers(ctx, &trigger.UpdateTriggersRequest{Names: []*common.TriggerName{named("a")}, Active: active}))
	}
	on, _, err := p.registry.Changed(ctx, cursor, 100)
	if err != nil || len(on) != 1 || !on[0].From.After(changed[0].From) {
		t.Errorf("got %v, %v", on, err)
	}
}
