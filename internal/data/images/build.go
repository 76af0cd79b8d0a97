package images

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	"biplane.dev/biplane/internal/fault"
)

// Check refuses a spec that Build would refuse for what it asks for. The files of the spec are not looked at.
func (s *Store) Check(spec *imagebuilder.ImageSpec, target string) error {
	if _, _, err := splitTarget(target); err != nil {
		return err
	}
	if _, err := parseSteps(spec); err != nil {
		return err
	}
	_, _, err := s.baseOf("base_image", spec.GetBaseImage())
	return err
}

// Build makes the environment of a spec, gives it the name and tag of target ("[registry/]name:tag"; a registry is not
// used) and returns the name that tasks use for it. An environment of the same content is found, not built. archive holds the
// files that the spec refers to (tar.gz); nil when it refers to none.
func (s *Store) Build(ctx context.Context, spec *imagebuilder.ImageSpec, archive io.Reader, target string, progress Progress) (string, error) {
	if s.state == "" {
		return "", fault.New(fault.KindInternal, "images are built by a data plane only")
	}
	name, tag, err := splitTarget(target)
	if err != nil {
		return "", err
	}
	own := stage{}
	if own.steps, err = parseSteps(spec); err != nil {
		return "", err
	}
	base, below, err := s.baseOf("base_image", spec.GetBaseImage())
	if err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp(s.scratch(), "build-")
	if err != nil {
		return "", s.buildFault(err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	kept := ""
	if archive != nil {
		kept = filepath.Join(scratch, "context.tar.gz")
		own.files = files{folder: filepath.Join(scratch, "context")}
		if err := receive(kept, archive); err != nil {
			return "", s.buildFault(err)
		}
		if err := unpack(own.files.folder, kept); err != nil {
			return "", s.buildFault(err)
		}
	}
	content, err := contentOf(own.steps, own.files)
	if err != nil {
		return "", s.buildFault(err)
	}
	r := base.with(content, below)
	progress.say("Image %s:%s, content %s", name, tag, r.Digest[:12])
	stages := func(ctx context.Context, folder string) ([]stage, error) {
		lower, err := s.stagesOf(ctx, below, folder)
		return append(lower, own), err
	}
	env, err := s.environment(ctx, r, stages, progress)
	if err != nil {
		return "", err
	}
	if err := s.keep(r, proto.CloneOf(spec), kept); err != nil {
		return "", s.buildFault(err)
	}
	if err := s.tag(name, tag, r); err != nil {
		return "", s.buildFault(err)
	}
	progress.say("Ready: %s", env.Root)
	return fullName(name, tag), nil
}

// stagesFunc gives the layers of an environment; it may unpack files into folder, which is removed after the build.
type stagesFunc func(ctx context.Context, folder string) ([]stage, error)

// build is an environment in the making.
type build struct {
	store    *Store
	uv       string
	layout   *layout
	held     *lock
	progress Progress
}

func (b *build) venv() string   { return filepath.Join(b.layout.root, "venv") }
func (b *build) python() string { return filepath.Join(b.venv(), "bin", "python") }

func (b *build) run(ctx context.Context, c command) error {
	c.lock = b.held
	return b.store.buildFault(b.store.run(ctx, c, b.progress))
}

// environment finds or builds the environment of a recipe.
func (s *Store) environment(ctx context.Context, r recipe, stages stagesFunc, progress Progress) (Env, error) {
	python, err := s.interpreterFor(ctx, r.Python, progress)
	if err != nil {
		return Env{}, err
	}
	at := s.placeOf(r, python)
	what := "the environment " + at.key
	err = s.provide(ctx, at, what, progress, func(root string, held *lock) (any, error) {
		uv, err := s.tool(ctx, progress)
		if err != nil {
			return nil, err
		}
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		b := &build{store: s, uv: uv, layout: newLayout(root), held: held, progress: progress}
		return b.make(ctx, at.key, r, python, stages)
	})
	if err != nil {
		return Env{}, err
	}
	var env Env
	if !s.marker(at, &env) {
		return Env{}, fault.New(fault.KindUnavailable, "%s was removed while it was looked up: try again", what)
	}
	return env, nil
}

// placeOf depends on the machine too: the same recipe for another Python is another environment.
func (s *Store) placeOf(r recipe, python interpreter) place {
	digest := digestOf(r.Digest, python.Path, python.Version, runtime.GOOS, runtime.GOARCH)
	return place{kind: "envs", key: fmt.Sprintf("py%s-%s", python.minor(), digest[:24])}
}

func (b *build) make(ctx context.Context, key string, r recipe, python interpreter, list stagesFunc) (Env, error) {
	b.progress.say("Building the environment %s: Python %s, flyte %s", key, python.Version, r.SDK)
	scratch := filepath.Join(b.layout.root, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return Env{}, err
	}
	var stages []stage
	if list != nil {
		var err error
		if stages, err = list(ctx, scratch); err != nil {
			return Env{}, err
		}
	}
	if err := b.run(ctx, command{what: "make a virtual environment with " + python.Path,
		args: []string{b.uv, "venv", "--quiet", "--no-project", "--python", python.Path, b.venv()}}); err != nil {
		return Env{}, err
	}
	if !r.Bare {
		if err := b.installSDK(ctx, r, python); err != nil {
			return Env{}, err
		}
	}
	for _, one := range stages {
		for _, s := range one.steps {
			if err := s.apply(ctx, b, one.files); err != nil {
				return Env{}, err
			}
		}
	}
	if r.Bare && !b.has("flyte") {
		if err := b.installSDK(ctx, r, python); err != nil {
			return Env{}, err
		}
	}
	check := command{what: "import flyte in the finished environment", args: []string{b.python(), "-I", "-c", "import flyte"}}
	if err := b.run(ctx, check); err != nil {
		return Env{}, err
	}
	if err := os.RemoveAll(scratch); err != nil {
		return Env{}, err
	}
	return b.layout.env(key), nil
}
