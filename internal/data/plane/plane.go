package plane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/builtins"
	"biplane.dev/biplane/internal/data/callback"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/engine/shell"
	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/gateway"
	"biplane.dev/biplane/internal/data/images"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/data/launch"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/objects/s3endpoint"
	"biplane.dev/biplane/internal/data/registry"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/data/secrets"
	"biplane.dev/biplane/internal/data/taskspec"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link/anchor"
	"biplane.dev/biplane/internal/link/dial"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/rpc"
	"biplane.dev/biplane/internal/store"
)

// AddressFile in the state folder holds the gateway's address while the plane accepts work.
const AddressFile = "gateway.addr"

// Config is what a plane is started with.
type Config struct {
	State  string // folder; one plane at a time
	Cache  string // folder of environments, shared by planes; "" is the user's cache folder
	Python string // interpreter of the base environment; "" is python3
	Runner string // path of biplane-runner
	Listen string // of the gateway; loopback
	// Control is the address file of the control plane's link, which is read before each try; TLS the folder with the
	// plane's certificate. Both empty: no control plane.
	Control string
	TLS     string
	Dial    dial.Func // the way out to the control plane; nil dials directly

	Engine      engine.Config
	MaxQPS      int
	Grace       time.Duration
	OrphanGrace time.Duration
	LogLimits   logs.Limits
	// EndAttempts ends what runs when the plane stops; it is made again at the next start. Without it attempts go on, and
	// the next life of the plane adopts them.
	EndAttempts bool
	Log         *slog.Logger
}

// Plane is a data plane that has been opened.
type Plane struct {
	config    Config
	db        store.DB
	journal   *journal.Journal
	registry  *registry.Registry
	bucket    *objects.File
	logs      *logs.File
	raw       *s3endpoint.Endpoint
	images    *images.Store
	builder   *images.Builder
	secrets   secrets.Backend
	gateway   *gateway.Gateway
	callbacks *callback.Handler
	executor  *executor.Process
	launcher  *launch.Launcher
	builtins  *builtins.Runner
	shell     *shell.Shell
	anchor    *anchor.Anchor
	listener  net.Listener
	server    *rpc.Server
	metrics   *prometheus.Registry

	background context.Context // ends when the plane stops
	hooks      sync.WaitGroup  // webhooks under way
}

// Run opens the plane, calls ready when it accepts work, and serves until ctx is done.
func Run(ctx context.Context, config Config, ready func(address string)) error {
	p, err := open(ctx, config)
	if err != nil {
		return err
	}
	return p.run(ctx, ready)
}

func open(ctx context.Context, config Config) (p *Plane, err error) {
	p = &Plane{config: config, metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := os.MkdirAll(config.State, 0o700); err != nil {
		return p, fault.Wrap(err, fault.KindPrecondition, "the state folder %s cannot be written: %v", config.State, err)
	}
	p.config.State, err = filepath.Abs(config.State)
	if err != nil {
		return p, err
	}
	for _, folder := range []string{"home", "keys"} {
		if err := os.MkdirAll(p.folder(folder), 0o700); err != nil {
			return p, fault.Wrap(err, fault.KindPrecondition, "the state folder %s cannot be written: %v", config.State, err)
		}
	}
	// The executor's lock says that this plane is the only one on the folder, so it comes before anything is changed.
	if err := p.openExecutor(); err != nil {
		return p, err
	}
	if p.db, err = store.OpenSQLite(ctx, p.folder("plane.db"), anchor.Migrations(), journal.Migrations(), registry.Migrations); err != nil {
		return p, err
	}
	if p.anchor, err = anchor.Begin(ctx, p.db, reports...); err != nil {
		return p, err
	}
	if p.registry, err = registry.Open(ctx, p.db); err != nil {
		return p, err
	}
	if p.bucket, err = objects.OpenFile(p.folder("bucket"), objects.FileOptions{}); err != nil {
		return p, err
	}
	if p.secrets, err = secrets.OpenFile(p.folder("secrets"), p.folder("keys/secrets.key")); err != nil {
		return p, err
	}
	if p.images, err = images.Open(images.Config{State: p.folder("images"), Cache: config.Cache, Python: config.Python}); err != nil {
		return p, err
	}
	if err := p.openRaw(); err != nil {
		return p, err
	}
	if p.listener, err = net.Listen("tcp", config.Listen); err != nil {
		return p, fault.Wrap(err, fault.KindPrecondition, "cannot listen on %s: %v; choose another address", config.Listen, err)
	}
	return p, p.assemble(ctx)
}

func (p *Plane) folder(name string) string { return filepath.Join(p.config.State, name) }

func (p *Plane) openExecutor() (err error) {
	p.logs = logs.NewFile(p.folder("logs"))
	p.executor, err = executor.NewProcess(executor.ProcessOptions{
		Root: p.folder("attempts"), Runner: p.config.Runner, Events: events{p}, LogPath: p.logs.Path, LogLimits: p.config.LogLimits,
		OrphanGrace: p.config.OrphanGrace, Logger: p.config.Log,
	})
	return err
}

func (p *Plane) assemble(ctx context.Context) error {
	endpoint := fmt.Sprintf("localhost:%d", p.listener.Addr().(*net.TCPAddr).Port)
	p.journal = journal.New(p.db)
	p.shell = shell.New(shell.Config{Engine: p.config.Engine, MaxPending: 16384, Log: p.config.Log, Task: taskspec.Decode}, p.journal, world{p})
	p.launcher = launch.New(launch.Config{
		Executor: p.executor, Journal: p.journal, Bucket: p.bucket, Images: environments{p}, Secrets: secrets.NewVault(p.secrets), Tell: p.shell.Tell,
		Log: p.config.Log, Endpoint: endpoint, RawPrefix: p.raw.URI(rawKey), RawKey: rawKey, Storage: p.raw.TaskEnvironment("http://" + endpoint), Home: p.folder("home"), MaxQPS: p.config.MaxQPS, Grace: p.config.Grace,
		Base: map[string]string{
			"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "DO_NOT_TRACK": "1", "FSSPEC_FILE_AUTO_MKDIR": "True",
			"NO_PROXY": "localhost,127.0.0.1",
		},
	})
	p.builder = images.NewBuilder(p.images, p.bucket)
	p.builtins = builtins.New(builtins.Config{
		Bucket: p.bucket, Spec: p.journal.Spec, Functions: map[string]builtins.Function{taskspec.TypeImageBuild: p.builder.Run},
		LogPath: p.logs.Path, LogLimits: p.config.LogLimits, Tell: p.shell.Tell, MaxInputs: 128 << 20,
	})
	if err := p.shell.Restore(ctx); err != nil {
		return err
	}
	if err := p.deployBuilder(ctx); err != nil {
		return err
	}
	return p.serve("http://" + endpoint)
}

// rawKey is where tasks keep files, folders and frames. They reach it as S3, because on bare paths the SDK does not copy what a
// task returns; inputs and outputs stay on bare paths, which are faster.
const rawKey objects.Key = "raw"

// openRaw makes the S3 endpoint for raw data.
func (p *Plane) openRaw() error {
	credentials, err := s3endpoint.LoadCredentials(p.folder("keys/raw.key"))
	if err != nil {
		return err
	}
	p.raw, err = s3endpoint.New(p.bucket, s3endpoint.Options{
		Name: "biplane", Prefixes: []objects.Key{rawKey}, Credentials: credentials, Staging: p.folder("staging"),
		MaxObject: 1 << 40, MaxUploads: 1024, MaxRequests: 256, Idle: time.Minute, Total: 6 * time.Hour, Log: p.config.Log,
	})
	return err
}

// checkRaw says whether tasks can keep raw data at a place that is within this plane's own store. Others are not ours to judge.
func (p *Plane) checkRaw(uri string) error {
	if !strings.HasPrefix(uri+"/", p.raw.URI("")) {
		return nil
	}
	if key, err := p.raw.Key(uri); err != nil || !strings.HasPrefix(string(key)+"/", string(rawKey)+"/") {
		return fault.New(fault.KindInvalid, "%q is not below %s/", uri, p.raw.URI(rawKey))
	}
	return nil
}

// localAddress is where a client on this machine, which has no credentials for the endpoint, reads the same object.
func (p *Plane) localAddress(uri string) string {
	key, err := p.raw.Key(uri)
	if err != nil {
		return uri
	}
	return p.bucket.URI(key)
}

func (p *Plane) serve(base string) (err error) {
	p.server, err = rpc.New(rpc.Config{
		Name: "gateway", Log: p.config.Log, Metrics: p.metrics, Ready: p.ready,
		MessageBytes: map[string]int64{"/flyteidl2.dataproxy.DataProxyService/UploadInputs": 128 << 20, "/flyteidl2.workflow.RunService/CreateRun": 128 << 20},
	})
	if err != nil {
		return err
	}
	if err := p.metrics.Register(newCollector(p)); err != nil {
		return err
	}
	key, err := objects.LoadKey(p.folder("keys/url.key"))
	if err != nil {
		return err
	}
	const objectsPath = "/objects/"
	signer := objects.NewSigner(key, objectsPath)
	p.server.HandleHTTP(objectsPath, objects.NewHandler(p.bucket, signer, objects.HandlerOptions{
		MaxBody: 1 << 40, Idle: time.Minute, Total: 6 * time.Hour, Log: p.config.Log,
	}))
	for _, path := range []string{"/biplane", "/biplane/"} {
		p.server.HandleHTTP(path, p.raw)
	}
	p.gateway = gateway.New(gateway.Config{
		Shell: p.shell, Journal: p.journal, Names: p.registry, Bucket: p.bucket, Signer: urls{base: base, signer: signer},
		Local: p.localAddress, CheckRaw: p.checkRaw, CheckBuild: p.builder.Check,
		Logs: p.logs, Log: p.config.Log,
	})
	p.callbacks = callback.New(key, base, p.gateway.Answer)
	p.server.HandleHTTP(callback.Path, p.callbacks)
	p.gateway.Mount(p.server, gateway.Services{
		Projects: registry.NewProjectService(p.registry), Tasks: registry.NewTaskService(p.registry, taskspec.Check),
		Triggers: registry.NewTriggerService(p.registry), Settings: registry.NewSettingsService(p.registry),
		Secrets: secrets.NewService(p.secrets, p.registry), Images: images.NewService(p.images),
	})
	return nil
}

// deployBuilder makes the image builder a task like any other, so that the stock SDK's remote builder finds it.
func (p *Plane) deployBuilder(ctx context.Context) error {
	spec := images.TaskSpec()
	_, err := registry.NewTaskService(p.registry, nil).DeployTask(ctx, &task.DeployTaskRequest{
		TaskId: &task.TaskIdentifier{Org: names.Org, Project: images.TaskProject, Domain: images.TaskDomain, Name: images.TaskName, Version: images.TaskVersion},
		Spec:   spec,
	})
	if fault.Is(err, fault.KindExists) {
		return nil
	}
	return err
}

func (p *Plane) run(ctx context.Context, ready func(string)) error {
	defer p.close()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.background = background
	var parts sync.WaitGroup
	defer func() {
		// The engine stops before the attempts: that they end now is no outcome of theirs.
		stop()
		parts.Wait()
		p.hooks.Wait()
		p.launcher.Close()
		p.builtins.Close()
		p.endAttempts(ctx)
	}()
	parts.Go(func() { p.shell.Run(background) })
	if err := p.sweep(background); err != nil {
		p.config.Log.Warn("attempts of an earlier life could not be swept", "error", err)
	}
	parts.Go(func() { schedule.New(p.registry, p.gateway, p.config.Log, time.Now).Run(background) })
	parts.Go(func() { p.collectImages(background) })
	if p.config.Control != "" {
		parts.Go(func() { p.runLink(background) })
	}
	address := p.listener.Addr().String()
	defer os.Remove(p.folder(AddressFile))
	if err := os.WriteFile(p.folder(AddressFile), []byte(address+"\n"), 0o600); err != nil {
		return fault.Wrap(err, fault.KindUnavailable, "the plane's address cannot be written: %v", err)
	}
	p.config.Log.Info("the data plane is ready", "gateway", address, "state", p.config.State)
	if ready != nil {
		ready(address)
	}
	return p.server.Serve(ctx, p.listener)
}

// endAttempts ends what runs, if the plane is to take it along.
func (p *Plane) endAttempts(ctx context.Context) {
	if !p.config.EndAttempts {
		return
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.config.Grace+10*time.Second)
	defer cancel()
	if err := p.executor.Close(closing, true); err != nil {
		p.config.Log.Error("some attempts could not be ended", "error", err)
	}
}

// close lets go of what open took; it is safe after a part of it.
func (p *Plane) close() {
	var errs []error
	if p.listener != nil {
		if err := p.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if p.executor != nil {
		errs = append(errs, p.executor.Close(context.Background(), false))
	}
	if p.bucket != nil {
		errs = append(errs, p.bucket.Close())
	}
	if p.db != nil {
		errs = append(errs, p.db.Close())
	}
	if err := errors.Join(errs...); err != nil {
		p.config.Log.Warn("closing the data plane", "error", err)
	}
}

const (
	collectEvery   = time.Hour
	environmentTTL = 30 * 24 * time.Hour // unused environments are kept as long; one that is needed again is built again
)

// collectImages removes environments that nothing has used for long.
func (p *Plane) collectImages(ctx context.Context) {
	for {
		wait(ctx, collectEvery)
		if ctx.Err() != nil {
			return
		}
		if collected, err := p.images.Collect(ctx, func(string) bool { return false }, environmentTTL); err != nil {
			p.config.Log.Warn("unused environments could not be removed", "error", err)
		} else {
			p.config.Log.Info("unused environments were removed", "collected", collected)
		}
	}
}
