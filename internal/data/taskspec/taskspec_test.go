package taskspec_test

import (
	"testing"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/taskspec"
)

func TestQuantity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		scale float64
		want  int64
	}{
		{"500m", 1000, 500}, {"1", 1000, 1000}, {"1.5", 1000, 1500}, {"0.1", 1000, 100}, {"2Gi", 1, 2 << 30}, {"1500Mi", 1, 1500 << 20},
		{"1G", 1, 1_000_000_000}, {"100k", 1, 100_000}, {"1e3", 1, 1000}, {" 4 ", 1, 4},
	} {
		if got, err := taskspec.Quantity("f", c.text, c.scale); err != nil || got != c.want {
			t.Errorf("Quantity(%q) = %d, %v; want %d", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1Zi", "Inf", "NaN", "1e300"} {
		if got, err := taskspec.Quantity("resources.cpu", text, 1); err == nil {
			t.Errorf("Quantity(%q) = %d, want an error", text, got)
		}
	}
}

func TestCheckRefusesWhatNeedsAContainer(t *testing.T) {
	t.Parallel()
	container := &core.TaskTemplate_Container{Container: &core.Container{Args: []string{"a0"}}}
	template := func(change func(*core.TaskTemplate)) *task.TaskSpec {
		tt := &core.TaskTemplate{Id: &core.Identifier{Name: "env.fn"}, Type: "python", Target: container}
		change(tt)
		return &task.TaskSpec{TaskTemplate: tt}
	}
	if err := taskspec.Check("task_spec", template(func(*core.TaskTemplate) {})); err != nil {
		t.Errorf("a python task: %v", err)
	}
	for name, change := range map[string]func(*core.TaskTemplate){
		"raw container": func(tt *core.TaskTemplate) { tt.Type = "raw-container" },
		"pod":           func(tt *core.TaskTemplate) { tt.Target = &core.TaskTemplate_K8SPod{K8SPod: &core.K8SPod{}} },
		"named pod":     func(tt *core.TaskTemplate) { tt.Metadata = &core.TaskMetadata{PodTemplateName: "big"} },
		"sql":           func(tt *core.TaskTemplate) { tt.Target = &core.TaskTemplate_Sql{Sql: &core.Sql{}} },
		"plug-in":       func(tt *core.TaskTemplate) { tt.Type = "spark" },
		"no target":     func(tt *core.TaskTemplate) { tt.Target = nil },
		"no name":       func(tt *core.TaskTemplate) { tt.Id = nil },
		"echo": func(tt *core.TaskTemplate) {
			tt.Type = "echo"
			tt.Interface = &core.TypedInterface{Inputs: &core.VariableMap{Variables: []*core.VariableEntry{{Key: "x"}}}}
		},
		"sleep": func(tt *core.TaskTemplate) { tt.Type = "core-sleep" },
	} {
		if err := taskspec.Check("task_spec", template(change)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
