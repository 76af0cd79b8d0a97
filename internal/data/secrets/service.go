package secrets

import (
	"context"
	"encoding/base64"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/secret"
	"biplane.dev/biplane/gen/flyteidl2/secret/secretconnect"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Scopes knows which domains and projects exist. The registry implements it.
type Scopes interface {
	// CheckScope accepts the organisation (both empty), a domain, or a project's domain; else its error is a fault.
	CheckScope(ctx context.Context, domain, project string) error
}

// Service answers flyteidl2.secret.SecretService. No method returns a value.
type Service struct {
	backend Backend
	scopes  Scopes
}

var _ secretconnect.SecretServiceHandler = Service{}

// NewService serves the secrets in backend.
func NewService(backend Backend, scopes Scopes) Service { return Service{backend, scopes} }

// Page sizes of lists.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (s Service) id(ctx context.Context, id *secret.SecretIdentifier) (ID, error) {
	if err := names.Check("id.name", id.GetName()); err != nil {
		return ID{}, err
	}
	scope, err := s.scope(ctx, id.GetDomain(), id.GetProject())
	return ID{Scope: scope, Name: id.GetName()}, err
}

func (s Service) scope(ctx context.Context, domain, project string) (Scope, error) {
	return Scope{Org: names.Org, Domain: domain, Project: project}, s.scopes.CheckScope(ctx, domain, project)
}

// content checks and returns what a request wants to keep.
func content(spec *secret.SecretSpec) ([]byte, error) {
	if _, known := secret.SecretType_name[int32(spec.GetType())]; !known {
		return nil, fault.Invalid("secret_spec.type", "%d is not a type of secret", int32(spec.GetType()))
	}
	var value []byte
	switch v := spec.GetValue().(type) {
	case *secret.SecretSpec_StringValue:
		value = []byte(v.StringValue)
	case *secret.SecretSpec_BinaryValue:
		value = v.BinaryValue
	default:
		return nil, fault.Invalid("secret_spec.value", "is missing")
	}
	if len(value) > MaxValue {
		return nil, fault.Invalid("secret_spec.value", "is %d bytes long; at most %d are allowed", len(value), MaxValue)
	}
	return value, nil
}

// CreateSecret keeps a new secret.
func (s Service) CreateSecret(ctx context.Context, request *secret.CreateSecretRequest) (*secret.CreateSecretResponse, error) {
	id, err := s.id(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	value, err := content(request.GetSecretSpec())
	if err != nil {
		return nil, err
	}
	if err := s.backend.Create(ctx, id, request.GetSecretSpec().GetType(), value); err != nil {
		return nil, err
	}
	return &secret.CreateSecretResponse{}, nil
}

// UpdateSecret replaces a secret's value.
func (s Service) UpdateSecret(ctx context.Context, request *secret.UpdateSecretRequest) (*secret.UpdateSecretResponse, error) {
	id, err := s.id(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	value, err := content(request.GetSecretSpec())
	if err != nil {
		return nil, err
	}
	if err := s.backend.Update(ctx, id, request.GetSecretSpec().GetType(), value); err != nil {
		return nil, err
	}
	return &secret.UpdateSecretResponse{}, nil
}

// GetSecret describes a secret of exactly the given scope.
func (s Service) GetSecret(ctx context.Context, request *secret.GetSecretRequest) (*secret.GetSecretResponse, error) {
	id, err := s.id(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	info, err := s.backend.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	return &secret.GetSecretResponse{Secret: info.message()}, nil
}

// DeleteSecret removes a secret of exactly the given scope.
func (s Service) DeleteSecret(ctx context.Context, request *secret.DeleteSecretRequest) (*secret.DeleteSecretResponse, error) {
	id, err := s.id(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	if err := s.backend.Delete(ctx, id); err != nil {
		return nil, err
	}
	return &secret.DeleteSecretResponse{}, nil
}

// ListSecrets lists the secrets of a scope and of the narrower ones within it.
func (s Service) ListSecrets(ctx context.Context, request *secret.ListSecretsRequest) (*secret.ListSecretsResponse, error) {
	scope, err := s.scope(ctx, request.GetDomain(), request.GetProject())
	if err != nil {
		return nil, err
	}
	after, err := decodeToken(request.GetToken())
	if err != nil {
		return nil, err
	}
	limit := int(request.GetLimit())
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	list, err := s.backend.List(ctx, scope, after, limit+1) // one more tells whether another page exists
	if err != nil {
		return nil, err
	}
	response := &secret.ListSecretsResponse{}
	if len(list) > limit {
		list = list[:limit]
		response.Token = encodeToken(list[limit-1].ID)
	}
	for _, info := range list {
		response.Secrets = append(response.Secrets, info.message())
	}
	return response, nil
}

func (info Info) message() *secret.Secret {
	return &secret.Secret{
		Id: &secret.SecretIdentifier{Organization: info.ID.Org, Domain: info.ID.Domain, Project: info.ID.Project, Name: info.ID.Name},
		SecretMetadata: &secret.SecretMetadata{
			CreatedTime:  timestamppb.New(info.Created),
			Type:         info.Type,
			SecretStatus: &secret.SecretStatus{OverallStatus: secret.OverallStatus_FULLY_PRESENT},
		},
	}
}

func encodeToken(id ID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(id.Domain + "/" + id.Project + "/" + id.Name))
}

func decodeToken(token string) (*ID, error) {
	if token == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.Split(string(raw), "/")
	if err != nil || len(parts) != 3 || len(raw) > 4*names.MaxSegment {
		return nil, fault.Invalid("token", "is not one that this list gave out; start again without a token")
	}
	return &ID{Scope: Scope{Org: names.Org, Domain: parts[0], Project: parts[1]}, Name: parts[2]}, nil
}
