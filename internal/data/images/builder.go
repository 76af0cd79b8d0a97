package images

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// The built-in task that the SDK's remote builder runs (flyte/_internal/imagebuild/remote_builder.py).
const (
	TaskName    = "build-image"
	TaskProject = "system"
	TaskDomain  = "production"
	TaskVersion = "1"
	// TaskType tells the engine to run the task inside the plane, by Builder.Run.
	TaskType = "image-build"
)

const (
	inputSpec    = "spec"         // where the spec was uploaded
	inputContext = "context"      // where the archive of files was uploaded; "" when there is none
	inputTarget  = "target_image" // "[registry/]name:tag"
	outputName   = "o0"           // the name that tasks use for the image; the SDK reads the first output
)

// specLimit is how large a spec may be, in bytes.
const specLimit = 4 << 20

// TaskSpec is the built-in task as it is registered. All inputs are strings and required: the SDK passes every one.
func TaskSpec() *task.TaskSpec {
	text := func() *core.LiteralType {
		return &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}
	}
	variable := func(name, description string) *core.VariableEntry {
		return &core.VariableEntry{Key: name, Value: &core.Variable{Type: text(), Description: description}}
	}
	return &task.TaskSpec{
		TaskTemplate: &core.TaskTemplate{
			Id: &core.Identifier{
				ResourceType: core.ResourceType_TASK,
				Org:          names.Org, Project: TaskProject, Domain: TaskDomain, Name: TaskName, Version: TaskVersion,
			},
			Type:     TaskType,
			Metadata: &core.TaskMetadata{}, // not cached: the store finds what it has built by content
			Interface: &core.TypedInterface{
				Inputs: &core.VariableMap{Variables: []*core.VariableEntry{
					variable(inputSpec, "URI of the image spec"),
					variable(inputContext, "URI of the archive with the files of the spec, or empty"),
					variable(inputTarget, "name and tag of the image"),
				}},
				Outputs: &core.VariableMap{Variables: []*core.VariableEntry{
					variable(outputName, "full name of the image"),
				}},
			},
		},
		ShortName: TaskName,
	}
}

// Builder runs the built-in task.
type Builder struct {
	store  *Store
	bucket objects.Bucket
}

// NewBuilder builds into store what clients have uploaded to bucket.
func NewBuilder(store *Store, bucket objects.Bucket) *Builder {
	return &Builder{store: store, bucket: bucket}
}

// Run builds the image of the inputs, writes what happens to log, line by line, and returns its name. It stops when ctx ends.
func (b *Builder) Run(ctx context.Context, inputs *task.Inputs, log io.Writer) (*task.Outputs, error) {
	specURI, err := stringInput(inputs, inputSpec)
	if err != nil {
		return nil, err
	}
	contextURI, err := stringInput(inputs, inputContext)
	if err != nil {
		return nil, err
	}
	target, err := stringInput(inputs, inputTarget)
	if err != nil {
		return nil, err
	}
	spec, err := b.spec(ctx, specURI)
	if err != nil {
		return nil, err
	}
	var archive io.Reader
	if contextURI != "" {
		content, err := b.open(ctx, inputContext, contextURI, contextLimit)
		if err != nil {
			return nil, err
		}
		defer func() { _ = content.Close() }()
		archive = content
	}
	image, err := b.store.Build(ctx, spec, archive, target, func(line string) {
		_, _ = fmt.Fprintln(log, line) // a log that is full or gone does not end the build
	})
	if err != nil {
		return nil, err
	}
	return &task.Outputs{Literals: []*task.NamedLiteral{{Name: outputName, Value: stringLiteral(image)}}}, nil
}

// Check refuses what Run would refuse for what the spec asks for, so that the reason reaches the one who asks and not only
// the log of a run: the SDK says no more of a build that failed than where it ran.
func (b *Builder) Check(ctx context.Context, inputs *task.Inputs) error {
	uri, err := stringInput(inputs, inputSpec)
	if err != nil {
		return err
	}
	target, err := stringInput(inputs, inputTarget)
	if err != nil {
		return err
	}
	spec, err := b.spec(ctx, uri)
	if err != nil {
		return err
	}
	return b.store.Check(spec, target)
}

func (b *Builder) spec(ctx context.Context, uri string) (*imagebuilder.ImageSpec, error) {
	content, err := b.open(ctx, inputSpec, uri, specLimit)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(content, specLimit))
	if err := errors.Join(err, content.Close()); err != nil {
		return nil, fault.Wrap(err, fault.KindUnavailable, "the image spec cannot be read from the bucket: try again")
	}
	spec := &imagebuilder.ImageSpec{}
	if err := proto.Unmarshal(body, spec); err != nil {
		return nil, fault.Invalid(inputSpec, "the object is not an image spec")
	}
	return spec, nil
}

func (b *Builder) open(ctx context.Context, field, uri string, limit int64) (io.ReadCloser, error) {
	key, err := b.bucket.Key(uri)
	if err != nil {
		return nil, fault.Invalid(field, "is not the address of an object of this data plane")
	}
	content, info, err := b.bucket.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	if info.Size > limit {
		_ = content.Close()
		return nil, fieldFault(fault.KindTooLarge, field, "the object has %d bytes, and at most %d are allowed", info.Size, limit)
	}
	return content, nil
}

func stringInput(inputs *task.Inputs, name string) (string, error) {
	for _, literal := range inputs.GetLiterals() {
		if literal.GetName() != name {
			continue
		}
		value, ok := literal.GetValue().GetScalar().GetPrimitive().GetValue().(*core.Primitive_StringValue)
		if !ok {
			return "", fault.Invalid(name, "must be a string")
		}
		return value.StringValue, nil
	}
	return "", fault.Invalid(name, "is missing")
}

func stringLiteral(value string) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{
		Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: value}},
	}}}}
}
