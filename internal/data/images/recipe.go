package images

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	"biplane.dev/biplane/internal/fault"
)

// recipeFormat is raised when the same recipe has to give another environment than before.
const recipeFormat = "1"

// maxBases is how long a chain of images built on each other may be.
const maxBases = 32

// recipe is all that decides an image, apart from the machine's Python.
type recipe struct {
	Digest string `json:"digest"`         // names it
	Python string `json:"python"`         // "3.11"
	SDK    string `json:"sdk"`            // version of flyte
	Bare   bool   `json:"bare,omitempty"` // flyte is installed after the layers, and only if none of them did
	Base   string `json:"base,omitempty"` // digest of the recipe below; its layers come first
}

// stage is the layers of one recipe with the files that they use.
type stage struct {
	steps []step
	files files
}

// baseRecipe is that of an image without layers.
func baseRecipe(python, sdk string) recipe {
	return recipe{Digest: digestOf(recipeFormat, python, sdk, "", "", ""), Python: python, SDK: sdk}
}

// with puts layers on top.
func (r recipe) with(content string, base string) recipe {
	if content == "[]" && base == "" && !r.Bare {
		return r
	}
	bare := ""
	if r.Bare {
		bare = "bare"
	}
	r.Base = base
	r.Digest = digestOf(recipeFormat, r.Python, r.SDK, bare, base, content)
	return r
}

// The base images that stand for an environment of ours.
var (
	// defaultImage is the SDK's, with the SDK in it: ghcr.io/flyteorg/flyte:py3.11-v2.12.1.
	defaultImage = regexp.MustCompile(`^ghcr\.io/flyteorg/flyte:py(3\.[0-9]{1,3})-v(.+)$`)
	// plainImage is what the SDK starts from when it is told not to put itself in (from_uv_script, install_flyte=False).
	plainImage = regexp.MustCompile(`^python:(3\.[0-9]{1,3})-slim-bookworm$`)
	// sdkVersion is a released version; a build of somebody's working copy is not in an index.
	sdkVersion = regexp.MustCompile(`^[0-9]{1,6}(\.[0-9]{1,6}){0,3}((a|b|rc)[0-9]{1,6})?$`)
)

// baseOf is the recipe that a base image stands for, with the recipe's digest again when it is an image of ours.
func (s *Store) baseOf(field, image string) (r recipe, ours string, err error) {
	if parts := defaultImage.FindStringSubmatch(image); parts != nil {
		if !sdkVersion.MatchString(parts[2]) {
			return recipe{}, "", fieldFault(fault.KindUnsupported, field,
				"the image %s has a version of flyte that is not released, and environments are made of released ones: use a released SDK, for example %s",
				abbreviate(image), SDKVersion)
		}
		return baseRecipe(parts[1], parts[2]), "", nil
	}
	if parts := plainImage.FindStringSubmatch(image); parts != nil {
		return recipe{Python: parts[1], SDK: SDKVersion, Bare: true}, "", nil
	}
	if name, tag, ok := splitName(image); ok {
		r, err := s.tagged(name, tag)
		if err != nil {
			return recipe{}, "", err
		}
		return recipe{Python: r.Python, SDK: r.SDK, Bare: r.Bare}, r.Digest, nil
	}
	return recipe{}, "", fieldFault(fault.KindUnsupported, field,
		"the image %s needs a container runtime, and the process executor has none: use the SDK's default image or one layered on it (Image.from_debian_base().with_…), %s",
		abbreviate(image), instead)
}

// keep stores a recipe with the spec and the files that it was made of, so that its environment can be built again.
func (s *Store) keep(r recipe, spec *imagebuilder.ImageSpec, archive string) error {
	folder := filepath.Join(s.recipes(), r.Digest)
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	fresh, err := os.MkdirTemp(s.scratch(), "recipe-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	head, err := json.Marshal(r)
	if err != nil {
		return err
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return err
	}
	err = errors.Join(writeFile(filepath.Join(fresh, "recipe.json"), head), writeFile(filepath.Join(fresh, "spec.pb"), body))
	if err == nil && archive != "" {
		err = os.Rename(archive, filepath.Join(fresh, "context.tar.gz"))
	}
	if err == nil {
		err = syncFolder(fresh)
	}
	if err == nil {
		err = os.Rename(fresh, folder)
	}
	if errors.Is(err, os.ErrExist) {
		return nil // another build of the same content was faster
	}
	return errors.Join(err, syncFolder(s.recipes()))
}

// recipeOf reads a kept recipe.
func (s *Store) recipeOf(digest string) (recipe, error) {
	content, err := os.ReadFile(filepath.Join(s.recipes(), digest, "recipe.json"))
	if err != nil {
		return recipe{}, err
	}
	var r recipe
	return r, json.Unmarshal(content, &r)
}

// stagesOf unpacks a kept recipe and those below it into folder, the lowest first.
func (s *Store) stagesOf(ctx context.Context, digest, folder string) ([]stage, error) {
	var stages []stage
	for depth := 0; digest != ""; depth++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if depth == maxBases {
			return nil, fault.Invalid("base_image", "more than %d images are built on each other: start again from the SDK's default image", maxBases)
		}
		r, err := s.recipeOf(digest)
		if err != nil {
			return nil, err
		}
		one, err := s.stageOf(digest, filepath.Join(folder, digest))
		if err != nil {
			return nil, err
		}
		stages = append([]stage{one}, stages...)
		digest = r.Base
	}
	return stages, nil
}

func (s *Store) stageOf(digest, folder string) (stage, error) {
	kept := filepath.Join(s.recipes(), digest)
	body, err := os.ReadFile(filepath.Join(kept, "spec.pb"))
	if err != nil {
		return stage{}, err
	}
	spec := &imagebuilder.ImageSpec{}
	if err := proto.Unmarshal(body, spec); err != nil {
		return stage{}, err
	}
	var one stage
	if one.steps, err = parseSteps(spec); err != nil {
		return stage{}, err
	}
	archive := filepath.Join(kept, "context.tar.gz")
	if _, err := os.Stat(archive); err == nil {
		if err := unpack(folder, archive); err != nil {
			return stage{}, err
		}
		one.files = files{folder: folder}
	}
	return one, nil
}
