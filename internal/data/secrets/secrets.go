package secrets

import (
	"cmp"
	"context"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/secret"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// MaxValue is the largest value, in bytes.
const MaxValue = 256 << 10

// Scope is who may use a secret: the organisation (Domain and Project empty), a domain (Project empty), or a project's
// domain.
type Scope struct {
	Org     string
	Domain  string
	Project string
}

// ID names a secret.
type ID struct {
	Scope
	Name string
}

// compare orders secrets in lists.
func (id ID) compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Org, other.Org), cmp.Compare(id.Domain, other.Domain), cmp.Compare(id.Project, other.Project), cmp.Compare(id.Name, other.Name))
}

// within says whether a list of scope shows the secret: a broad scope shows what is narrower, too.
func (id ID) within(scope Scope) bool {
	return id.Org == scope.Org && (scope.Domain == "" || id.Domain == scope.Domain) && (scope.Project == "" || id.Project == scope.Project)
}

// Info is what may be known of a secret.
type Info struct {
	ID      ID
	Type    secret.SecretType
	Created time.Time
	Updated time.Time
}

// Backend keeps secrets. Errors are faults that never hold a value: KindExists and KindNotFound as each method says,
// KindUnavailable when it cannot be reached or written to, and then nothing has changed.
type Backend interface {
	// Create keeps a new secret; KindExists when there is one of this name in this very scope.
	Create(ctx context.Context, id ID, kind secret.SecretType, value []byte) error
	// Update replaces the value and the type; KindNotFound.
	Update(ctx context.Context, id ID, kind secret.SecretType, value []byte) error
	// Info describes a secret; KindNotFound.
	Info(ctx context.Context, id ID) (Info, error)
	// Value is a copy of the value; KindNotFound.
	Value(ctx context.Context, id ID) ([]byte, error)
	// List returns up to limit secrets of the scope and narrower ones, in order of domain, project and name, after the
	// given one; nil is the start.
	List(ctx context.Context, scope Scope, after *ID, limit int) ([]Info, error)
	// Delete removes a secret; KindNotFound.
	Delete(ctx context.Context, id ID) error
}

// Vault looks secrets up for attempts.
type Vault struct{ backend Backend }

// NewVault reads from backend.
func NewVault(backend Backend) *Vault { return &Vault{backend} }

// Lookup returns the value of the narrowest secret with this key that a project's domain may use: its own, the domain's,
// the organisation's. Its error is a fault of KindNotFound that says how to create one.
func (v *Vault) Lookup(ctx context.Context, project names.Project, key string) ([]byte, error) {
	if err := names.Check("security_context.secrets.key", key); err != nil {
		return nil, err
	}
	for _, scope := range []Scope{
		{Org: project.Org, Domain: project.Domain, Project: project.Project},
		{Org: project.Org, Domain: project.Domain},
		{Org: project.Org},
	} {
		value, err := v.backend.Value(ctx, ID{Scope: scope, Name: key})
		if err == nil || !fault.Is(err, fault.KindNotFound) {
			return value, err
		}
	}
	return nil, fault.New(fault.KindNotFound, "secret %q does not exist for project %s, domain %s; "+
		"create it with: flyte create secret %s --project %s --domain %s",
		key, project.Project, project.Domain, key, project.Project, project.Domain)
}
