package taskspec

import (
	"fmt"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// maxForced bounds the actions that a recovered run is told to execute again.
const maxForced = 10_000

// CheckRun accepts the settings of a run as far as they name something: queues, places, variables, runs and actions. Whether this plane
// can write to the places is not looked at.
func CheckRun(field string, spec *task.RunSpec) error {
	if queue := spec.GetQueue(); queue != "" {
		if err := names.Check(field+".queue", queue); err != nil {
			return err
		}
	}
	for name, place := range map[string]string{
		"run_base_dir": spec.GetRunBaseDir(), "raw_data_storage.raw_data_prefix": spec.GetRawDataStorage().GetRawDataPrefix(),
	} {
		if place == "" {
			continue
		}
		if err := names.CheckPlace(field+"."+name, place); err != nil {
			return err
		}
	}
	for name, run := range map[string]*common.RunIdentifier{"related_to": spec.GetRelatedTo(), "relation.related_to": spec.GetRelation().GetRelatedTo()} {
		if run == nil {
			continue
		}
		if _, err := names.NewRun(run.GetProject(), run.GetDomain(), run.GetName()); err != nil {
			return fault.Invalid(field+"."+name, "%v", err)
		}
	}
	if err := checkVariables(field+".envs", spec.GetEnvs().GetValues()); err != nil {
		return err
	}
	forced := spec.GetRecover().GetForceRerunActions()
	if len(forced) > maxForced {
		return fault.Invalid(field+".recover.force_rerun_actions", "holds %d actions; at most %d are allowed", len(forced), maxForced)
	}
	for i, action := range forced {
		if err := names.Check(fmt.Sprintf("%s.recover.force_rerun_actions[%d]", field, i), action); err != nil {
			return err
		}
	}
	return nil
}
