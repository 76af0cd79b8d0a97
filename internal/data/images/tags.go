package images

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// registry is the host part of the names of images built here. No such host exists: nobody can mean another image by it.
const registry = "biplane.local/"

// fullName is what tasks call an image of ours.
func fullName(name, tag string) string { return registry + name + ":" + tag }

// splitName is the inverse of fullName.
func splitName(image string) (name, tag string, ok bool) {
	rest, ok := strings.CutPrefix(image, registry)
	if !ok {
		return "", "", false
	}
	name, tag, ok = strings.Cut(rest, ":")
	return name, tag, ok && names.Check("image", name) == nil && names.Check("image", tag) == nil
}

// splitTarget takes "[registry/]name:tag" apart. The SDK asks for an image by the last part of its name only
// (remote_builder.py, RemoteImageChecker), so the registry does not tell images apart.
func splitTarget(target string) (name, tag string, err error) {
	const field = "target_image"
	name, tag, ok := strings.Cut(target[strings.LastIndexByte(target, '/')+1:], ":")
	if !ok {
		return "", "", fault.Invalid(field, "%q has no tag: name:tag is needed", abbreviate(target))
	}
	return name, tag, errors.Join(names.Check(field, name), names.Check(field, tag))
}

// tagEntry is the content of a tag's file.
type tagEntry struct {
	Recipe string    `json:"recipe"`
	Built  time.Time `json:"built"`
}

func (s *Store) tagFile(name, tag string) string { return filepath.Join(s.tags(), name, tag+".json") }

func (s *Store) tag(name, tag string, r recipe) error {
	content, err := json.Marshal(tagEntry{Recipe: r.Digest, Built: time.Now().UTC()})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.tagFile(name, tag)), 0o700); err != nil {
		return err
	}
	return writeFile(s.tagFile(name, tag), content)
}

// tagged is the recipe that a name and tag stand for.
func (s *Store) tagged(name, tag string) (recipe, error) {
	missing := fieldFault(fault.KindNotFound, "image",
		"the image %s has not been built on this data plane: run or deploy with the remote image builder (image.builder: remote in the client's config)",
		fullName(name, tag))
	if s.state == "" {
		return recipe{}, missing
	}
	content, err := os.ReadFile(s.tagFile(name, tag))
	if errors.Is(err, os.ErrNotExist) {
		return recipe{}, missing
	}
	var entry tagEntry
	if err == nil {
		err = json.Unmarshal(content, &entry)
	}
	var r recipe
	if err == nil {
		r, err = s.recipeOf(entry.Recipe)
	}
	if errors.Is(err, os.ErrNotExist) {
		return recipe{}, missing
	}
	if err != nil {
		return recipe{}, fault.Wrap(err, fault.KindInternal, "the record of the image %s cannot be read", fullName(name, tag))
	}
	return r, nil
}
