package plane

import (
	"context"
	"crypto/tls"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/engine/shell"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/data/registry"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/anchor"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/store"
)

// reports are the kinds of rows that linkSource tells of.
var reports = []string{"run", "action", "attempt", "project", "task", "trigger"}

// runLink reports to the control plane until ctx is done. Where that is stands in a file, because on one machine its port
// changes with each start.
func (p *Plane) runLink(ctx context.Context) {
	changed, leave := p.db.Watch()
	defer leave()
	var renewing sync.WaitGroup
	defer renewing.Wait()
	renewing.Go(func() { enrol.Keep(ctx, enrol.KeepConfig{Folder: p.config.TLS, Where: p.contact, Log: p.config.Log}) })
	link.Run(ctx, link.Config{
		Where: p.controlAddress, Dial: p.config.Dial, Source: linkSource{Plane: p, changed: changed},
		Sink:   &anchor.Sink{Anchor: p.anchor, Do: p.obey, Log: p.config.Log},
		Health: p.health, Log: p.config.Log, MaxWait: 5 * time.Second,
	})
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// linkSource is what the plane tells: the newest state of each changed row, from the tables themselves.
type linkSource struct {
	*Plane
	changed <-chan struct{}
}

// tellers read one table each, in the order of reports.
var tellers = []func(tx store.Tx, after int64, limit int) ([]*linkv1.Event, error){
	journal.RunEvents, journal.ActionEvents, journal.AttemptEvents, registry.ProjectEvents, registry.TaskEvents, registry.TriggerEvents,
}

func (s linkSource) Changes(ctx context.Context, after int64, limit int) (events []*linkv1.Event, err error) {
	err = s.db.Read(ctx, func(tx store.Tx) error {
		tables := make([][]*linkv1.Event, len(tellers))
		for i, tell := range tellers {
			if tables[i], err = tell(tx, after, limit); err != nil {
				return err
			}
		}
		events = link.Merge(limit, tables...)
		return nil
	})
	return events, err
}

func (s linkSource) Changed() <-chan struct{} { return s.changed }
func (s linkSource) Head() int64              { return s.db.Seq() }
func (s linkSource) Lives() []*linkv1.Life    { return s.anchor.Lives() }

func (p *Plane) health() *linkv1.Health {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	h := &linkv1.Health{Version: version(), CpuMillis: p.config.Engine.CPUMillis, MemoryBytes: p.config.Engine.Memory}
	var load engine.Load
	var draining bool
	err := p.shell.Inspect(ctx, func(state *engine.State, _ shell.Stats) { load, draining = state.Load(), state.Draining() })
	if err != nil {
		return h // the closure may still be waiting for its turn, and write then; so nothing it writes is read
	}
	h.CpuMillisUsed, h.MemoryBytesUsed = load.CPUMillis, load.Memory
	h.Draining = draining
	h.AttemptsRunning, h.ActionsQueued, h.RunsActive = int64(load.Alive), int64(load.Actions-load.Alive), int64(load.Runs)
	return h
}

// version is the program's, as a build from a tag has it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}

// contact is where the plane's certificate is renewed.
func (p *Plane) contact() (enrol.Contact, error) {
	address, err := p.control()
	return enrol.Contact{Address: address, Dial: p.config.Dial}, err
}

// controlAddress is where the link of the control plane listens, and how to know it.
func (p *Plane) controlAddress() (string, *tls.Config, error) {
	address, err := p.control()
	if err != nil {
		return "", nil, err
	}
	config, err := link.ClientTLS(p.config.TLS)
	return address, config, err
}

// control reads the address of the control plane.
func (p *Plane) control() (string, error) {
	if !strings.HasPrefix(p.config.Control, "/") {
		return p.config.Control, nil
	}
	raw, err := os.ReadFile(p.config.Control)
	return strings.TrimSpace(string(raw)), err
}
