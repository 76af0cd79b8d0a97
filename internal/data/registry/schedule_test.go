package registry_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/registry"
	"biplane.dev/biplane/internal/data/schedule"
)

// made hands the fires to the test.
type made chan schedule.Fire

func (m made) Fire(_ context.Context, fire schedule.Fire) error { m <- fire; return nil }

// The real scheduler on the real registry: what fired before a restart does not fire after it.
func TestScheduleOverARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db, r := open(t, path)
	hourly := withTrigger("hourly", true, cron("0 * * * *", "UTC", ""))
	service := registry.NewTaskService(r, nil)
	must[*task.DeployTaskResponse](t)(service.DeployTask(t.Context(), &task.DeployTaskRequest{TaskId: taskID("hello.main", "v1"), Spec: spec("one"), Triggers: []*task.TaskTrigger{hourly}}))

	// run lets a scheduler work as if it were later, until it has fired once and recorded that.
	base := time.Now()
	run := func(r *registry.Registry, later time.Duration) (fired schedule.Fire) {
		ctx, stop := context.WithCancel(t.Context())
		done, fires := make(chan struct{}), make(made, 16)
		go func() {
			schedule.New(r, fires, slog.New(slog.DiscardHandler), func() time.Time { return base.Add(later) }).Run(ctx)
			close(done)
		}()
		select {
		case fired = <-fires:
		case <-time.After(10 * time.Second):
			t.Error("nothing fired")
		}
		for deadline := time.Now().Add(10 * time.Second); ; {
			triggers, _, err := r.Changed(t.Context(), 0, 10)
			if err != nil || time.Now().After(deadline) {
				t.Fatal(triggers, err)
			}
			if triggers[0].Settled.Equal(fired.At) {
				break
			}
		}
		stop()
		<-done
		if len(fires) > 0 {
			t.Errorf("fired again: %+v", <-fires)
		}
		return fired
	}
	first := run(r, 3*time.Hour)
	db.Close()
	_, r = open(t, path)
	second := run(r, 6*time.Hour)
	if first.Task.Version != "v1" || second.At.Sub(first.At) != 3*time.Hour || first.Run.Name == second.Run.Name {
		t.Errorf("first %+v, second %+v", first, second)
	}
}
