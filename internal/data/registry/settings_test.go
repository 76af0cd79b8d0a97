package registry_test

import (
	"testing"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/settings"
	"biplane.dev/biplane/internal/names"
)

const (
	inherit = settings.SettingState_SETTING_STATE_INHERIT
	unset   = settings.SettingState_SETTING_STATE_UNSET
	value   = settings.SettingState_SETTING_STATE_VALUE
)

func text(s string) *settings.StringSetting {
	return &settings.StringSetting{State: value, StringValue: s}
}

func entries(kv ...string) *settings.StringMapSetting {
	m := &settings.StringMapSetting{State: value, MapValue: &settings.StringMap{Entries: map[string]string{}}}
	for i := 0; i < len(kv); i += 2 {
		m.MapValue.Entries[kv[i]] = kv[i+1]
	}
	return m
}

func key(domain, project string) *settings.SettingsKey {
	return &settings.SettingsKey{Org: "127", Domain: domain, Project: project}
}

func create(t *testing.T, p plane, key *settings.SettingsKey, s *settings.Settings) *settings.SettingsRecord {
	t.Helper()
	return must[*settings.CreateSettingsResponse](t)(p.settings.CreateSettings(t.Context(), &settings.CreateSettingsRequest{Key: key, Settings: s})).GetSettingsRecord()
}

func TestNarrowSettingsOverrideBroadOnes(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	create(t, p, key("", ""), &settings.Settings{
		Run:                  &settings.RunSettings{DefaultQueue: text("slow"), MaxActionConcurrency: &settings.Int64Setting{State: value, IntValue: 100}},
		Storage:              &settings.StorageSettings{RawDataPath: text("s3://org/raw")},
		EnvironmentVariables: entries("A", "org", "B", "org"),
		Labels:               entries("team", "all"),
	})
	create(t, p, key("development", ""), &settings.Settings{
		Run:                  &settings.RunSettings{DefaultQueue: text("dev"), RunBaseDir: text("s3://dev/runs")},
		EnvironmentVariables: entries("B", "dev", "C", "dev"),
		Labels:               &settings.StringMapSetting{State: unset},
	})
	create(t, p, key("development", "flytesnacks"), &settings.Settings{
		Run:                  &settings.RunSettings{DefaultQueue: &settings.StringSetting{State: inherit}, RunBaseDir: &settings.StringSetting{State: unset}},
		EnvironmentVariables: entries("C", "project"),
		Labels:               entries("team", "blue"),
	})
	got := must[*settings.Settings](t)(p.registry.Effective(ctx, development))
	if q := got.GetRun().GetDefaultQueue(); q.GetStringValue() != "dev" || q.GetScopeLevel() != settings.ScopeLevel_SCOPE_LEVEL_DOMAIN {
		t.Errorf("queue %v", q)
	}
	if c := got.GetRun().GetMaxActionConcurrency(); c.GetIntValue() != 100 || c.GetScopeLevel() != settings.ScopeLevel_SCOPE_LEVEL_ORG {
		t.Errorf("concurrency %v", c)
	}
	if d := got.GetRun().GetRunBaseDir(); d.GetState() != unset || d.GetStringValue() != "" {
		t.Errorf("an unset value came through: %v", d)
	}
	if r := got.GetStorage().GetRawDataPath(); r.GetStringValue() != "s3://org/raw" {
		t.Errorf("raw data %v", r)
	}
	env := got.GetEnvironmentVariables().GetMapValue().GetEntries()
	if len(env) != 3 || env["A"] != "org" || env["B"] != "dev" || env["C"] != "project" {
		t.Errorf("environment %v", env)
	}
	if labels := got.GetLabels().GetMapValue().GetEntries(); len(labels) != 1 || labels["team"] != "blue" {
		t.Errorf("labels %v", labels)
	}
	elsewhere := must[*settings.Settings](t)(p.registry.Effective(ctx, names.Project{Org: names.Org, Project: "flytesnacks", Domain: "production"}))
	if elsewhere.GetRun().GetDefaultQueue().GetStringValue() != "slow" || elsewhere.GetLabels().GetMapValue().GetEntries()["team"] != "all" {
		t.Errorf("production has %v", elsewhere)
	}
	over := must[*settings.GetSettingsResponse](t)(p.settings.GetSettings(ctx, &settings.GetSettingsRequest{Key: key("development", "flytesnacks")})).GetSettingsRecord()
	if over.GetSettings().GetRun().GetDefaultQueue().GetStringValue() != "dev" || over.GetVersion() != 1 {
		t.Errorf("GetSettings says %v", over)
	}
}

func TestSettingsVersions(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	k := key("staging", "flytesnacks")
	levels := must[*settings.GetSettingsForEditResponse](t)(p.settings.GetSettingsForEdit(ctx, &settings.GetSettingsForEditRequest{Key: k})).GetLevels()
	if len(levels) != 3 || levels[2].GetVersion() != 0 || levels[2].GetKey().GetProject() != "flytesnacks" || levels[0].GetKey().GetDomain() != "" {
		t.Errorf("levels %v", levels)
	}
	_, err := p.settings.UpdateSettings(ctx, &settings.UpdateSettingsRequest{Key: k})
	refused(t, err, connect.CodeNotFound, "create")
	if r := create(t, p, k, nil); r.GetVersion() != 1 {
		t.Errorf("created %v", r)
	}
	_, err = p.settings.CreateSettings(ctx, &settings.CreateSettingsRequest{Key: k})
	refused(t, err, connect.CodeAlreadyExists)
	update := func(version uint64) (*settings.UpdateSettingsResponse, error) {
		return p.settings.UpdateSettings(ctx, &settings.UpdateSettingsRequest{Key: k, Version: version, Settings: &settings.Settings{Run: &settings.RunSettings{DefaultQueue: text("q")}}})
	}
	if r := must[*settings.UpdateSettingsResponse](t)(update(1)).GetSettingsRecord(); r.GetVersion() != 2 {
		t.Errorf("updated %v", r)
	}
	_, err = update(1)
	refused(t, err, connect.CodeAborted, "version 2", "read them again")
	levels = must[*settings.GetSettingsForEditResponse](t)(p.settings.GetSettingsForEdit(ctx, &settings.GetSettingsForEditRequest{Key: k})).GetLevels()
	if levels[2].GetVersion() != 2 || levels[2].GetSettings().GetRun().GetDefaultQueue().GetStringValue() != "q" || levels[1].GetSettings().GetRun() != nil {
		t.Errorf("levels %v", levels)
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	p := serve(t)
	ctx := t.Context()
	one := &settings.Int64Setting{State: value, IntValue: 1}
	if n := p.changes(func() {
		for field, s := range map[string]*settings.Settings{
			"settings.run.max_action_concurrency": {Run: &settings.RunSettings{MaxActionConcurrency: one}},
			"settings.run.default_queue":          {Run: &settings.RunSettings{DefaultQueue: text("../q")}},
			"settings.environment_variables":      {EnvironmentVariables: entries("NOT VALID", "x")},
			"settings.annotations":                {Annotations: entries("k", "a\x00b")},
			"settings.labels":                     {Labels: entries("", "x")},
			"settings.task_resource.max.memory":   {TaskResource: &settings.TaskResourceSettings{Max: &settings.TaskResourceDefaults{Memory: &settings.QuantitySetting{State: value, QuantityValue: "lots"}}}},
		} {
			_, err := p.settings.CreateSettings(ctx, &settings.CreateSettingsRequest{Key: key("", ""), Settings: s})
			refused(t, err, connect.CodeInvalidArgument, field)
		}
		_, err := p.settings.CreateSettings(ctx, &settings.CreateSettingsRequest{Key: key("", "flytesnacks")})
		refused(t, err, connect.CodeInvalidArgument, "domain")
		_, err = p.settings.CreateSettings(ctx, &settings.CreateSettingsRequest{Key: key("moon", "")})
		refused(t, err, connect.CodeNotFound, "moon")
		_, err = p.settings.GetSettings(ctx, &settings.GetSettingsRequest{Key: key("development", "nobody")})
		refused(t, err, connect.CodeNotFound, "nobody")
		for _, bad := range badNames[1:] {
			_, err := p.settings.GetSettingsForEdit(ctx, &settings.GetSettingsForEditRequest{Key: key(bad, "")})
			refused(t, err, connect.CodeInvalidArgument, "domain")
			_, err = p.settings.CreateSettings(ctx, &settings.CreateSettingsRequest{Key: key("development", bad)})
			refused(t, err, connect.CodeInvalidArgument, "project")
		}
	}); n != 0 {
		t.Errorf("refused requests changed %d rows", n)
	}
}
