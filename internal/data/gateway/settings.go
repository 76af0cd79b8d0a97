package gateway

import (
	"context"
	"maps"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/settings"
	"biplane.dev/biplane/gen/flyteidl2/task"
)

// applySettings fills in what the request leaves open from the settings of the project, its domain and the organisation.
// The result is what is stored with the run, so a later change of the settings changes no run that exists.
func (g *Gateway) applySettings(ctx context.Context, d *draft) error {
	effective, err := g.Names.Effective(ctx, d.run.Project)
	if err != nil {
		return err
	}
	spec := d.runSpec
	if spec.GetQueue() == "" {
		spec.Queue = text(effective.GetRun().GetDefaultQueue())
	}
	if limit := effective.GetRun().GetMaxActionConcurrency(); spec.GetMaxActionConcurrency() == 0 && limit.GetState() == settings.SettingState_SETTING_STATE_VALUE && limit.GetIntValue() > 0 {
		spec.MaxActionConcurrency = uint32(min(limit.GetIntValue(), 1<<31))
	}
	if spec.GetRunBaseDir() == "" {
		spec.RunBaseDir = text(effective.GetRun().GetRunBaseDir())
	}
	if raw := text(effective.GetStorage().GetRawDataPath()); raw != "" && spec.GetRawDataStorage().GetRawDataPrefix() == "" {
		spec.RawDataStorage = &task.RawDataStorage{RawDataPrefix: raw}
	}
	if labels := below(effective.GetLabels(), spec.GetLabels().GetValues()); len(labels) > 0 {
		spec.Labels = &task.Labels{Values: labels}
	}
	if annotations := below(effective.GetAnnotations(), spec.GetAnnotations().GetValues()); len(annotations) > 0 {
		spec.Annotations = &task.Annotations{Values: annotations}
	}
	if variables := effective.GetEnvironmentVariables(); variables.GetState() == settings.SettingState_SETTING_STATE_VALUE {
		addVariables(spec, variables.GetMapValue().GetEntries())
	}
	return nil
}

func text(setting *settings.StringSetting) string {
	if setting.GetState() != settings.SettingState_SETTING_STATE_VALUE {
		return ""
	}
	return setting.GetStringValue()
}

// below puts the run's own entries over those of the settings.
func below(setting *settings.StringMapSetting, own map[string]string) map[string]string {
	if setting.GetState() != settings.SettingState_SETTING_STATE_VALUE {
		return own
	}
	all := maps.Clone(setting.GetMapValue().GetEntries())
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, own)
	return all
}

func addVariables(spec *task.RunSpec, variables map[string]string) {
	own := map[string]bool{}
	for _, pair := range spec.GetEnvs().GetValues() {
		own[pair.GetKey()] = true
	}
	if spec.Envs == nil {
		spec.Envs = &task.Envs{}
	}
	for key, value := range variables {
		if !own[key] {
			spec.Envs.Values = append(spec.Envs.Values, &core.KeyValuePair{Key: key, Value: value})
		}
	}
}
