package plane_test

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	planev1 "biplane.dev/biplane/gen/biplane/plane/v1"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	projectpb "biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/secret"
	"biplane.dev/biplane/gen/flyteidl2/settings"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/trigger"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
)

// samples are good messages of each type that identifies something: what stands around a bad string, so that nothing but
// that string can be what a request is refused for.
var samples = map[protoreflect.FullName]proto.Message{
	"flyteidl2.common.RunIdentifier":         runID("held"),
	"flyteidl2.common.ActionIdentifier":      actionID("held", "a0"),
	"flyteidl2.common.ProjectIdentifier":     projectID(),
	"flyteidl2.common.TriggerName":           &common.TriggerName{Project: project, Domain: domain, TaskName: "nap", Name: "yearly"},
	"flyteidl2.common.Relation":              &common.Relation{RelatedTo: runID("held"), RelationType: common.RelationType_RELATION_TYPE_RECOVER},
	"flyteidl2.common.Filter":                &common.Filter{Function: common.Filter_EQUAL, Field: "created_at", Values: []string{"2026-01-01T00:00:00Z"}},
	"flyteidl2.task.TaskIdentifier":          &task.TaskIdentifier{Project: project, Domain: domain, Name: "nap", Version: "1"},
	"flyteidl2.task.TaskName":                &task.TaskName{Project: project, Domain: domain, Name: "nap"},
	"flyteidl2.task.TaskSpec":                sleepSpec(),
	"flyteidl2.task.TaskTrigger":             &task.TaskTrigger{Name: "yearly", Spec: &task.TaskTriggerSpec{}, AutomationSpec: yearly()},
	"flyteidl2.task.TriggerAutomationSpec":   yearly(),
	"flyteidl2.task.Schedule":                yearly().GetSchedule(),
	"flyteidl2.task.Cron":                    &task.Cron{Expression: "0 0 1 1 *", Timezone: "UTC"},
	"flyteidl2.secret.SecretIdentifier":      &secret.SecretIdentifier{Project: project, Domain: domain, Name: "password"},
	"flyteidl2.secret.SecretSpec":            &secret.SecretSpec{Value: &secret.SecretSpec_StringValue{StringValue: "secret"}},
	"flyteidl2.settings.SettingsKey":         &settings.SettingsKey{Project: project, Domain: domain},
	"flyteidl2.settings.StringSetting":       &settings.StringSetting{State: settings.SettingState_SETTING_STATE_VALUE},
	"flyteidl2.settings.QuantitySetting":     &settings.QuantitySetting{State: settings.SettingState_SETTING_STATE_VALUE},
	"flyteidl2.settings.StringMapSetting":    &settings.StringMapSetting{State: settings.SettingState_SETTING_STATE_VALUE},
	"flyteidl2.imagebuilder.ImageIdentifier": &imagebuilder.ImageIdentifier{Name: "image:tag"},
	"flyteidl2.project.Project":              &projectpb.Project{Id: "another"},
	"flyteidl2.core.TypedInterface":          sleepSpec().GetTaskTemplate().GetInterface(),
	"flyteidl2.workflow.TraceAction":         &workflow.TraceAction{Phase: common.ActionPhase_ACTION_PHASE_SUCCEEDED, StartTime: timestamppb.Now()},
	"flyteidl2.workflow.ConditionAction":     &workflow.ConditionAction{Type: simple(core.SimpleType_STRING)},
	"flyteidl2.workflow.TaskAction":          &workflow.TaskAction{Spec: sleepSpec()},
	"flyteidl2.workflow.EventPayload":        &workflow.EventPayload{Value: &workflow.EventPayload_StringValue{StringValue: "go"}},
}

// yearly is a schedule that does not come due during a test.
func yearly() *task.TriggerAutomationSpec {
	far := time.Now().AddDate(0, 6, 0)
	return &task.TriggerAutomationSpec{Type: task.TriggerAutomationSpecType_TYPE_SCHEDULE, Automation: &task.TriggerAutomationSpec_Schedule{
		Schedule: &task.Schedule{Expression: &task.Schedule_Cron{Cron: &task.Cron{Expression: far.Format("4 15 2 1") + " *", Timezone: "UTC"}}},
	}}
}

func sample(d protoreflect.MessageDescriptor) protoreflect.Message {
	if known, ok := samples[d.FullName()]; ok {
		return proto.Clone(known).ProtoReflect()
	}
	return newMessage(d)
}

// bases are good requests, by method. A method without one gets the samples of its fields.
func (b *bench) bases() map[protoreflect.Name]proto.Message {
	enqueue := b.child("held", "child", 0)
	return map[protoreflect.Name]proto.Message{
		"Explain":     &planev1.ExplainRequest{Project: project, Domain: domain, Run: "held", Action: "a0"},
		"ListSecrets": &secret.ListSecretsRequest{Project: project, Domain: domain},
		"CreateRun":   createRequest("new", sleepSpec(), sleepInputs(0)),
		"Enqueue":     enqueue,
		"UploadInputs": &dataproxy.UploadInputsRequest{
			Id:   &dataproxy.UploadInputsRequest_ProjectId{ProjectId: projectID()},
			Task: &dataproxy.UploadInputsRequest_TaskSpec{TaskSpec: sleepSpec()}, Inputs: sleepInputs(1),
		},
		"CreateUploadLocation": &dataproxy.CreateUploadLocationRequest{
			Project: project, Domain: domain, Filename: "file.tgz", ContentMd5: make([]byte, 16), ContentLength: 1,
		},
		"CreateDownloadLink": &dataproxy.CreateDownloadLinkRequest{ArtifactType: dataproxy.ArtifactType_ARTIFACT_TYPE_CODE_BUNDLE},
		"DeployTrigger":      &trigger.DeployTriggerRequest{Name: samples["flyteidl2.common.TriggerName"].(*common.TriggerName), Spec: &trigger.TriggerSpec{}, AutomationSpec: yearly()},
		"SignalEvent":        &workflow.SignalEventRequest{ActionId: actionID("held", "gate"), Payload: samples["flyteidl2.workflow.EventPayload"].(*workflow.EventPayload)},
		"Signal":             signal("held", "gate", "go"),
	}
}

// base is the good request of a method.
func base(m method, bases map[protoreflect.Name]proto.Message) protoreflect.Message {
	if known, ok := bases[m.Name()]; ok {
		return proto.Clone(known).ProtoReflect()
	}
	request := newMessage(m.Input())
	for i := range m.Input().Fields().Len() {
		field := m.Input().Fields().Get(i)
		if _, known := samples[messageName(field)]; known && !field.IsList() && !field.IsMap() && field.ContainingOneof() == nil {
			request.Set(field, protoreflect.ValueOfMessage(sample(field.Message())))
		}
	}
	return request
}

func messageName(field protoreflect.FieldDescriptor) protoreflect.FullName {
	if field.Message() == nil {
		return ""
	}
	return field.Message().FullName()
}
