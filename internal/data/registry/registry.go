package registry

import (
	"context"
	"embed"
	"io/fs"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of the registry.
var Migrations = func() store.Migrations {
	folder, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return store.Migrations{Part: "registry", Files: folder}
}()

// Registry keeps names. Its methods may be called by any number of goroutines.
type Registry struct {
	db   store.DB
	wake chan struct{} // holds one signal when triggers have changed since the last was taken
}

// Domains are the domains of every project.
var Domains = []string{"development", "staging", "production"}

// seeds are the projects that exist from the start: the one that the SDK's examples and config name, and the one of the
// platform's own tasks.
var seeds = []*project.Project{
	{Id: "flytesnacks", Name: "flytesnacks", Description: "The default project."},
	{Id: "system", Name: "system", Description: "Tasks of the platform itself."},
}

// Open returns the registry in db, whose tables are up to date, and makes sure that the first projects exist.
func Open(ctx context.Context, db store.DB) (*Registry, error) {
	r := &Registry{db: db, wake: make(chan struct{}, 1)}
	return r, db.Write(ctx, func(tx store.WriteTx) error {
		for _, p := range seeds {
			if _, found, err := readProject(tx, p.GetId()); err != nil || found {
				if err != nil {
					return err
				}
				continue
			}
			if err := writeProject(tx, p, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Wake holds a signal after triggers have changed; the scheduler takes it.
func (r *Registry) Wake() <-chan struct{} { return r.wake }

func (r *Registry) triggersChanged() {
	select {
	case r.wake <- struct{}{}:
	default: // a signal waits already
	}
}

// org is the organisation of every key; what a client sends for it is never looked at.
func org() string { return names.Org }

func micros(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMicro()
}

func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func timestamp(micros int64) *timestamppb.Timestamp {
	if micros == 0 {
		return nil
	}
	return timestamppb.New(instant(micros))
}

// marshal writes m so that equal messages give equal bytes within one version of the program.
func marshal(m proto.Message) ([]byte, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if raw == nil {
		raw = []byte{} // an empty message is not NULL
	}
	return raw, err
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func knownDomain(domain string) bool { return slices.Contains(Domains, domain) }
