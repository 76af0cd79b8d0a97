package builtins

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/launch"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Function does the work of a task inside the plane; what it writes to log is the action's log.
type Function func(ctx context.Context, inputs *task.Inputs, log io.Writer) (*task.Outputs, error)

// Config of a Runner.
type Config struct {
	Bucket objects.Bucket
	// Spec returns the bytes of an interned task spec.
	Spec      func(ctx context.Context, digest string) ([]byte, error)
	Functions map[string]Function // by task type
	LogPath   func(names.Attempt) string
	LogLimits logs.Limits
	Tell      func(engine.Input)
	MaxInputs int64
}

// parallel bounds the built-ins that run at once; the others wait for their turn.
const parallel = 16

// Runner carries out built-ins.
type Runner struct {
	config Config
	slots  chan struct{}

	mu      sync.Mutex
	running map[names.Attempt]context.CancelFunc
	closed  bool
	tasks   sync.WaitGroup
}

// New makes a runner.
func New(config Config) *Runner {
	return &Runner{config: config, slots: make(chan struct{}, parallel), running: map[names.Attempt]context.CancelFunc{}}
}

// Start carries out e; the end is told to the engine. One that runs already is left alone.
func (r *Runner) Start(e engine.RunBuiltin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.running[e.ID] != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.running[e.ID] = cancel
	r.tasks.Go(func() { r.run(ctx, e) })
}

// Close ends what runs and waits for it. What it tells then is of no account: it is carried out again in the plane's next life.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	for _, cancel := range r.running {
		cancel()
	}
	r.mu.Unlock()
	r.tasks.Wait()
}

// Stop asks a running built-in to end; false when there is none of this name.
func (r *Runner) Stop(id names.Attempt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	cancel := r.running[id]
	if cancel == nil {
		return false
	}
	cancel()
	return true
}

func (r *Runner) run(ctx context.Context, e engine.RunBuiltin) {
	outcome := engine.Outcome{}
	select {
	case r.slots <- struct{}{}:
		outcome = r.do(ctx, e)
		<-r.slots
	case <-ctx.Done():
		outcome.Error = &engine.Error{Code: engine.CodeAborted, Message: "stopped", Kind: engine.ErrorUser}
	}
	outcome.At = engine.At(time.Now())
	r.mu.Lock()
	r.running[e.ID]()
	delete(r.running, e.ID)
	r.mu.Unlock()
	r.config.Tell(engine.AttemptEnded{ID: e.ID, Outcome: outcome})
}

func (r *Runner) do(ctx context.Context, e engine.RunBuiltin) engine.Outcome {
	inputs := &task.Inputs{}
	raw, err := launch.Read(ctx, r.config.Bucket, e.InputURI, r.config.MaxInputs)
	if err == nil {
		err = proto.Unmarshal(raw, inputs)
	}
	if err != nil {
		return failed(fault.Wrap(err, fault.KindPrecondition, "the inputs could not be read"))
	}
	outputs, err := r.echo(ctx, e, inputs)
	if err != nil {
		return failed(err)
	}
	if e.Task.Builtin == engine.BuiltinFunction {
		function := r.config.Functions[e.Task.Type]
		if function == nil {
			return failed(fault.New(fault.KindUnsupported, "this data plane has no task type %q", e.Task.Type))
		}
		log := logs.Open(r.config.LogPath(e.ID), r.config.LogLimits)
		outputs, err = function(ctx, inputs, lineWriter{log})
		if err != nil {
			log.System("%s", err)
		}
		log.Close()
		if err != nil {
			return failed(err)
		}
	}
	folder := engine.OutputDir(e.OutputBase, e.ID.Action.Action, e.ID.Number)
	if err := r.write(ctx, folder+"/outputs.pb", outputs); err != nil {
		return failed(err)
	}
	return engine.Outcome{OK: true, OutputURI: folder}
}

// echo gives every input to the output at the same place of the task's interface, since the SDK names outputs by number.
func (r *Runner) echo(ctx context.Context, e engine.RunBuiltin, inputs *task.Inputs) (*task.Outputs, error) {
	if e.Task.Builtin != engine.BuiltinEcho {
		return nil, nil
	}
	raw, err := r.config.Spec(ctx, e.Task.Digest)
	if err != nil {
		return nil, err
	}
	spec := &task.TaskSpec{}
	if err := proto.Unmarshal(raw, spec); err != nil {
		return nil, err
	}
	given := map[string]*core.Literal{}
	for _, literal := range inputs.GetLiterals() {
		given[literal.GetName()] = literal.GetValue()
	}
	outputs := &task.Outputs{}
	typed := spec.GetTaskTemplate().GetInterface()
	for i, output := range typed.GetOutputs().GetVariables() {
		name := typed.GetInputs().GetVariables()[i].GetKey() // as many as outputs: taskspec.Check
		if given[name] == nil {
			return nil, fault.Invalid("inputs."+name, "is missing, and an echo has nothing else to give")
		}
		outputs.Literals = append(outputs.Literals, &task.NamedLiteral{Name: output.GetKey(), Value: given[name]})
	}
	return outputs, nil
}

func (r *Runner) write(ctx context.Context, uri string, message proto.Message) error {
	raw, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	key, err := r.config.Bucket.Key(uri)
	if err != nil {
		return err
	}
	_, err = r.config.Bucket.Put(ctx, key, bytes.NewReader(raw), objects.PutOptions{Size: int64(len(raw))})
	return err
}

func failed(err error) engine.Outcome {
	system := fault.Is(err, fault.KindInternal) || fault.Is(err, fault.KindUnavailable)
	kind := engine.ErrorUser
	if system {
		kind = engine.ErrorSystem
	}
	return engine.Outcome{System: system, Error: &engine.Error{Code: "BuiltinFailed", Message: fmt.Sprint(err), Kind: kind, Recoverable: system}}
}

// lineWriter gives a function's text to the log, line by line.
type lineWriter struct{ log *logs.Writer }

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.SplitSeq(strings.TrimRight(string(p), "\n"), "\n") {
		if err := w.log.Pump(logs.Stdout, strings.NewReader(line+"\n")); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
