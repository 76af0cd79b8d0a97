package plane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"biplane.dev/biplane/gen/biplane/admin/v1/adminv1connect"
	"biplane.dev/biplane/internal/control/admin"
	"biplane.dev/biplane/internal/control/catalog"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/control/identity"
	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/control/projection"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/rpc"
	"biplane.dev/biplane/internal/store"
)

// Files in the state folder.
const (
	databaseFile    = "control.db"
	authorityKey    = "authority.key"
	LinkAddressFile = "link.addr"
)

// Config says where a control plane keeps its state and listens.
type Config struct {
	State       string   // folder
	Hosts       []string // names and addresses of this control plane, for its certificate
	LinkListen  string   // where planes enrol and connect
	AdminListen string   // a loopback address
	LocalPlane  LocalPlane
	Heartbeat   time.Duration // 0: the link's default
	Log         *slog.Logger
}

// LocalPlane is a data plane of the same machine, which is enrolled without a token: the demo's. No Folder means none.
type LocalPlane struct {
	Name   string
	Folder string // of its identity
}

// Run serves until ctx is done, and returns nil then. While it is ready to serve, its addresses and the admin token are in the state folder.
func Run(ctx context.Context, c Config) (err error) {
	if err := admin.CheckLoopback(c.AdminListen); err != nil {
		return err
	}
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	unlock, err := lock(c.State)
	if err != nil {
		return err
	}
	defer unlock()
	forget := func() {
		for _, file := range []string{LinkAddressFile, admin.AddressFile, admin.TokenFile} {
			os.Remove(filepath.Join(c.State, file))
		}
	}
	forget() // what a killed predecessor left would lead nowhere
	defer forget()
	db, err := store.OpenSQLite(ctx, filepath.Join(c.State, databaseFile), ledger.Migrations(), catalog.Migrations(), fleet.Migrations(), projection.Migrations(), identity.Migrations())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	authority, err := identity.Open(ctx, db, identity.Config{Hosts: c.Hosts, KeyFile: filepath.Join(c.State, authorityKey), Log: c.Log})
	if err != nil {
		return err
	}
	planes := fleet.New(db, time.Now)
	project := projection.New(db, planes, c.Log)
	guard := identity.NewGuard(authority, project, c.Heartbeat)
	links := link.NewServer(guard, guard, c.Heartbeat, c.Log)
	authority.OnRemove(links.Cut)
	project.Wake = links.Wake

	registry := prometheus.NewRegistry()
	if err := registry.Register(newCollector(db, planes)); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	operator, err := rpc.New(rpc.Config{Name: "admin", Log: c.Log, Metrics: registry, Ready: func(ctx context.Context) error {
		return db.Read(ctx, func(store.Tx) error { return nil })
	}})
	if err != nil {
		return err
	}
	token := admin.NewToken()
	service := &admin.Service{Org: names.Org, Ledger: ledger.New(db), Fleet: planes, Identity: authority, Cursor: project.Cursor, Wake: links.Wake}
	operator.Handle(adminv1connect.NewAdminServiceHandler(service, append(operator.Options(), connect.WithInterceptors(admin.RequireToken(token)))...))

	placing := &admin.Placement{Org: names.Org, Fleet: planes, Wake: links.Wake}
	operator.Handle(adminv1connect.NewPlacementServiceHandler(placing, append(operator.Options(), connect.WithInterceptors(admin.RequireToken(token)))...))
	door, err := rpc.New(rpc.Config{Name: "planes", Log: c.Log, Metrics: registry, TLS: authority.ServerTLS()})
	if err != nil {
		return err
	}
	door.Handle(identity.NewHandler(authority, planes.Place, door.Options()...))
	door.HandleHTTP(link.Path, links.Handler())

	linkListener, err := net.Listen("tcp", c.LinkListen)
	if err != nil {
		return fmt.Errorf("listen for planes: %w", err)
	}
	adminListener, err := net.Listen("tcp", c.AdminListen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for the operator: %w", err), linkListener.Close())
	}
	group, serving := errgroup.WithContext(ctx)
	defer context.AfterFunc(serving, links.Close)()
	group.Go(func() error { return door.Serve(serving, linkListener) })
	group.Go(func() error { return operator.Serve(serving, adminListener) })
	group.Go(func() error {
		if c.LocalPlane.Folder != "" {
			plane := link.Plane{Org: names.Org, Name: c.LocalPlane.Name}
			err := authority.EnsurePlane(serving, plane, c.LocalPlane.Folder, func(tx store.WriteTx) error { return planes.Register(tx, plane, "", nil) })
			if err != nil {
				return err
			}
		}
		return errors.Join(
			writeFile(filepath.Join(c.State, admin.TokenFile), token),
			writeFile(filepath.Join(c.State, LinkAddressFile), linkListener.Addr().String()),
			writeFile(filepath.Join(c.State, admin.AddressFile), adminListener.Addr().String()),
		)
	})
	c.Log.Info("the control plane is ready", "link", linkListener.Addr().String(), "admin", adminListener.Addr().String(), "state", c.State)
	return group.Wait()
}
