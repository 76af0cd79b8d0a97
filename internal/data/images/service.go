package images

import (
	"context"
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	"biplane.dev/biplane/gen/flyteidl2/imagebuilder/imagebuilderconnect"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Service answers flyteidl2.imagebuilder.ImageService. The SDK takes every error for "not built yet" and builds.
type Service struct{ store *Store }

// NewService serves the images of a store.
func NewService(store *Store) *Service { return &Service{store: store} }

var _ imagebuilderconnect.ImageServiceHandler = (*Service)(nil)

// GetImage gives the name that tasks use for an image that has been built here; KindNotFound when it has not.
func (s *Service) GetImage(_ context.Context, request *imagebuilder.GetImageRequest) (*imagebuilder.GetImageResponse, error) {
	const field = "id.name"
	name, tag, ok := strings.Cut(request.GetId().GetName(), ":")
	if !ok {
		return nil, fault.Invalid(field, "must be name:tag, got %q", abbreviate(request.GetId().GetName()))
	}
	if err := names.Check(field, name); err != nil {
		return nil, err
	}
	if err := names.Check(field, tag); err != nil {
		return nil, err
	}
	if _, err := s.store.tagged(name, tag); err != nil {
		return nil, err
	}
	return &imagebuilder.GetImageResponse{Image: &imagebuilder.Image{
		Id:   &imagebuilder.ImageIdentifier{Name: request.GetId().GetName()},
		Fqin: fullName(name, tag),
	}}, nil
}
