package launch

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/names"
)

func testLauncher(t *testing.T) (*Launcher, *objects.File) {
	t.Helper()
	bucket, err := objects.OpenFile(t.TempDir(), objects.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bucket.Close(); err != nil {
			t.Error(err)
		}
	})
	l := New(Config{Bucket: bucket, RawPrefix: "s3://biplane/raw", RawKey: "raw", Log: slog.New(slog.DiscardHandler)})
	return l, bucket
}

func put(t *testing.T, bucket objects.Bucket, key objects.Key, content []byte) {
	t.Helper()
	if _, err := bucket.Put(t.Context(), key, bytes.NewReader(content), objects.PutOptions{Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
}

func testAttempt(t *testing.T, bucket objects.Bucket, number uint32) engine.StartAttempt {
	t.Helper()
	action, err := names.NewAction("p", "development", "run", "a0")
	if err != nil {
		t.Fatal(err)
	}
	return engine.StartAttempt{ID: names.Attempt{Action: action, Number: number}, Task: &engine.Task{Digest: "d"}, OutputBase: bucket.URI("runs/run")}
}

// killed is an attempt whose process was killed at the end.
func (l *Launcher) killed(ctx context.Context, e engine.StartAttempt) engine.Outcome {
	_, _ = l.specs.Get("d", func() (*taskFacts, error) {
		return &taskFacts{spec: &task.TaskSpec{TaskTemplate: &core.TaskTemplate{Interface: &core.TypedInterface{
			Outputs: &core.VariableMap{Variables: []*core.VariableEntry{{Key: "o0"}}},
		}}}}, nil
	})
	return l.outcome(ctx, e, executor.Exit{ID: e.ID, Code: -1, Signal: "SIGKILL", Ended: time.Now()})
}

func TestHalfAnErrorDocument(t *testing.T) {
	t.Parallel()
	l, bucket := testLauncher(t)
	e := testAttempt(t, bucket, 1)
	whole, err := proto.Marshal(&core.ErrorDocument{Error: &core.ContainerError{
		Code: "ValueError", Message: "it broke", Kind: core.ContainerError_RECOVERABLE, Origin: core.ExecutionError_USER,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		content []byte
		code    string
	}{{"whole", whole, "ValueError"}, {"half", whole[:len(whole)/2], "Interrupted"}, {"empty", nil, "Interrupted"}} {
		put(t, bucket, "runs/run/a0/1/error.pb", c.content)
		o := l.killed(t.Context(), e)
		if o.OK || o.System || o.Error == nil || o.Error.Code != c.code {
			t.Errorf("%s: %+v %+v, want code %s, charged to the task", c.name, o, o.Error, c.code)
		}
	}
}

// A parent can die by a signal while its runtime shuts down, after its outputs are complete.
func TestOutputsCountMoreThanTheSignal(t *testing.T) {
	t.Parallel()
	l, bucket := testLauncher(t)
	e := testAttempt(t, bucket, 1)
	whole, err := proto.Marshal(&task.Outputs{Literals: []*task.NamedLiteral{{Name: "o0", Value: &core.Literal{Hash: "some content"}}}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, bucket, "runs/run/a0/1/outputs.pb", whole[:len(whole)-3])
	if o := l.killed(t.Context(), e); o.OK || o.Error.Code != "Interrupted" {
		t.Errorf("half of the outputs: %+v", o)
	}
	put(t, bucket, "runs/run/a0/1/outputs.pb", whole)
	if o := l.killed(t.Context(), e); !o.OK || o.OutputURI != bucket.URI("runs/run/a0/1") {
		t.Errorf("whole outputs: %+v", o)
	}
}

func TestPreviousCheckpoint(t *testing.T) {
	t.Parallel()
	l, bucket := testLauncher(t)
	own := &runFacts{spec: &task.RunSpec{}}
	others := &runFacts{spec: &task.RunSpec{RawDataStorage: &task.RawDataStorage{RawDataPrefix: "s3://theirs/x/"}}}
	check := func(run *runFacts, number uint32, want string) {
		t.Helper()
		if got := l.previousCheckpoint(t.Context(), testAttempt(t, bucket, number), run); got != want {
			t.Errorf("attempt %d: %q, want %q", number, got, want)
		}
	}
	check(own, 1, "")
	check(own, 3, "s3://biplane/raw/p/development/run/a0/2/_flytecheckpoints")
	put(t, bucket, "raw/p/development/run/a0/1/_flytecheckpoints", []byte("progress"))
	check(own, 2, "s3://biplane/raw/p/development/run/a0/1/_flytecheckpoints")
	check(own, 3, "s3://biplane/raw/p/development/run/a0/1/_flytecheckpoints")
	put(t, bucket, "raw/p/development/run/a0/2/_flytecheckpoints", []byte("more"))
	check(own, 3, "s3://biplane/raw/p/development/run/a0/2/_flytecheckpoints")
	check(others, 3, "s3://theirs/x/p/development/run/a0/2/_flytecheckpoints")
}
