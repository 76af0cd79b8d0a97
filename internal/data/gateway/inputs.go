package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/launch"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/taskspec"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

func bucketKey(segments ...string) (objects.Key, error) { return objects.NewKey(segments...) }

// parcel is a set of inputs that came by value, and the place for them: a key made of their content, so that writing them
// twice is harmless and no run can change another's.
type parcel struct {
	inputs *task.Inputs
	raw    []byte
	key    objects.Key
}

// pack decides where inputs will lie. Nothing is written yet.
func (g *Gateway) pack(scope names.Project, spec *task.TaskSpec, inputs *task.Inputs) (*parcel, *common.OffloadedInputData, error) {
	raw, err := g.marshalInputs(inputs)
	if err != nil {
		return nil, nil, err
	}
	key, err := bucketKey("inputs", scope.Project, scope.Domain, contentName(raw), "inputs.pb")
	if err != nil {
		return nil, nil, err
	}
	data, err := g.offloaded(g.Bucket.URI(key), spec, inputs)
	return &parcel{inputs: inputs, raw: raw, key: key}, data, err
}

func (g *Gateway) store(ctx context.Context, p *parcel) error {
	_, err := g.Bucket.Put(ctx, p.key, bytes.NewReader(p.raw), objects.PutOptions{Size: int64(len(p.raw))})
	return err
}

// storeInputs keeps inputs in the bucket.
func (g *Gateway) storeInputs(ctx context.Context, scope names.Project, spec *task.TaskSpec, inputs *task.Inputs) (*common.OffloadedInputData, error) {
	p, data, err := g.pack(scope, spec, inputs)
	if err != nil {
		return nil, err
	}
	return data, g.store(ctx, p)
}

// storeInputsAt does the same below a folder that the run chose outside the bucket.
func (g *Gateway) storeInputsAt(base string, spec *task.TaskSpec, inputs *task.Inputs) (*common.OffloadedInputData, error) {
	if err := checkOutside("base_dir", base); err != nil {
		return nil, err
	}
	raw, err := g.marshalInputs(inputs)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(base, "inputs", contentName(raw))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, notWritten(base, err)
	}
	file, err := os.CreateTemp(folder, ".inputs-*")
	if err != nil {
		return nil, notWritten(base, err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(raw)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(folder, "inputs.pb"))
	}
	if err != nil {
		return nil, notWritten(base, err)
	}
	return g.offloaded(folder+"/inputs.pb", spec, inputs)
}

// notWritten tells a place that cannot be used from one whose disk is full or failing now.
func notWritten(base string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Wrap(err, fault.KindUnavailable, "the inputs could not be written below %s: its disk is full; make room there and try again", base)
	case errors.Is(err, syscall.EIO):
		return fault.Wrap(err, fault.KindUnavailable, "the inputs could not be written below %s: %v; try again", base, err)
	}
	return fault.Invalid("base_dir", "cannot be written: %v", err)
}

func (g *Gateway) marshalInputs(inputs *task.Inputs) ([]byte, error) {
	if size := int64(proto.Size(inputs)); size > g.MaxInputs {
		return nil, &fault.Fault{Kind: fault.KindTooLarge, Field: "inputs", Message: "are too large to be passed by value; pass a File, a Dir or a DataFrame"}
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(inputs)
}

func contentName(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func (g *Gateway) offloaded(uri string, spec *task.TaskSpec, inputs *task.Inputs) (*common.OffloadedInputData, error) {
	hash, err := taskspec.InputsHash(inputs, spec.GetTaskTemplate().GetMetadata().GetCacheIgnoreInputVars())
	return &common.OffloadedInputData{Uri: uri, InputsHash: hash}, err
}

// checkOutside accepts a folder that a user chose for a run's files: an absolute path without tricks. Whoever can start a
// task here can write there anyway, since tasks run as the plane's own user.
func checkOutside(field, path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fault.Invalid(field, "must be an absolute path on this machine, got %q; this data plane keeps objects in files", path)
	case len(path) > maxPlace:
		return fault.Invalid(field, "is %d bytes long; at most %d are allowed", len(path), maxPlace)
	case filepath.Clean(path) != path:
		return fault.Invalid(field, "must be a plain path without \"..\", escapes or doubled slashes, got %q", path)
	}
	return names.CheckPath(field, path)
}

// sleepOf reads the one input of a core-sleep task, so that the engine needs no file to know how long.
func (g *Gateway) sleepOf(ctx context.Context, facts *engine.Task, uri string) (time.Duration, error) {
	if facts.Builtin != engine.BuiltinSleep {
		return 0, nil
	}
	inputs, err := g.readInputs(ctx, uri)
	if err != nil {
		return 0, err
	}
	return sleepLength(inputs)
}

func sleepLength(inputs *task.Inputs) (time.Duration, error) {
	if len(inputs.GetLiterals()) != 1 {
		return 0, fault.Invalid("inputs", "a core-sleep task takes one duration, got %d inputs", len(inputs.GetLiterals()))
	}
	length, ok := inputs.GetLiterals()[0].GetValue().GetScalar().GetPrimitive().GetValue().(*core.Primitive_Duration)
	if !ok {
		return 0, fault.Invalid("inputs", "a core-sleep task takes a duration")
	}
	return length.Duration.AsDuration(), nil
}

func (g *Gateway) readInputs(ctx context.Context, uri string) (*task.Inputs, error) {
	inputs := &task.Inputs{}
	return inputs, g.readMessage(ctx, uri, inputs)
}

func (g *Gateway) readMessage(ctx context.Context, uri string, into proto.Message) error {
	raw, err := launch.Read(ctx, g.Bucket, uri, g.MaxInputs)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(raw, into); err != nil {
		return fault.New(fault.KindPrecondition, "%s does not hold what it should: %v", uri, err)
	}
	return nil
}
