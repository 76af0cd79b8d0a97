package images

import (
	"context"

	"biplane.dev/biplane/internal/fault"
)

// Resolve is the environment of a task's image: the SDK's default image or one that was built here. One that is no longer in
// the cache is built again, which takes as long as it takes. Any other image is refused (KindUnsupported) and one
// that was never built is not found (KindNotFound).
func (s *Store) Resolve(ctx context.Context, image string) (Env, error) {
	if image == "" {
		return Env{}, fault.Invalid("image", "is empty: a task needs one")
	}
	r, ours, err := s.baseOf("image", image)
	if err != nil {
		return Env{}, err
	}
	if r.Digest == "" && ours == "" {
		// The bare base of the SDK is something to build on, not something with a task's program in it.
		return Env{}, fieldFault(fault.KindUnsupported, "image",
			"the image %s has no flyte in it, and the process executor has no container runtime for others: use the SDK's default image or one layered on it, %s",
			image, instead)
	}
	if ours == "" {
		return s.environment(ctx, r, nil, nil)
	}
	kept, err := s.recipeOf(ours)
	if err != nil {
		return Env{}, fault.Wrap(err, fault.KindInternal, "the recipe of the image %s cannot be read", image)
	}
	return s.environment(ctx, kept, func(ctx context.Context, folder string) ([]stage, error) {
		return s.stagesOf(ctx, ours, folder)
	}, nil)
}
