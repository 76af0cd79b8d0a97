package plane

import (
	"context"
	"os"
	"strings"
	"time"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/engine/shell"
	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/launch"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/names"
)

// world carries out the engine's effects with the plane's parts.
type world struct{ *Plane }

func (w world) Start(e engine.StartAttempt)   { w.launcher.Start(e) }
func (w world) Forget(e engine.ForgetAttempt) { w.launcher.Forget(e) }
func (w world) Builtin(e engine.RunBuiltin)   { w.builtins.Start(e) }

func (w world) Stop(e engine.StopAttempt) {
	if !w.builtins.Stop(e.ID) {
		w.launcher.Stop(e)
	}
}

// Readable looks for the outputs themselves: an entry of the cache whose object is gone is a miss.
func (w world) Readable(ctx context.Context, uri string) bool {
	file := uri
	if !strings.HasSuffix(file, ".pb") {
		file += "/outputs.pb"
	}
	key, err := w.bucket.Key(file)
	if err != nil {
		info, err := os.Stat(file)
		return err == nil && info.Mode().IsRegular()
	}
	_, err = w.bucket.Stat(ctx, key)
	return err == nil
}

// events passes on what the executor tells; the launcher is made after the executor.
type events struct{ *Plane }

func (e events) Started(id names.Attempt, at time.Time) { e.launcher.Started(id, at) }
func (e events) Ended(exit executor.Exit)               { e.launcher.Ended(exit) }

// sweep ends what earlier lives of the plane left running and no unfinished action owns.
func (p *Plane) sweep(ctx context.Context) error {
	wanted := map[names.Attempt]bool{}
	p.launcher.Alive(func(id names.Attempt) { wanted[id] = true })
	err := p.shell.Inspect(ctx, func(state *engine.State, _ shell.Stats) {
		p.launcher.Alive(func(id names.Attempt) { wanted[id] = true })
	})
	if err != nil {
		return err
	}
	return p.executor.Sweep(ctx, func(id names.Attempt) bool { return wanted[id] })
}

// environments turns images into what a process needs.
type environments struct{ *Plane }

func (e environments) Environment(ctx context.Context, image string) (launch.Environment, error) {
	env, err := e.images.Resolve(ctx, image)
	if err != nil {
		return launch.Environment{}, err
	}
	hold, err := e.images.Hold(ctx, env.Key)
	if err != nil {
		return launch.Environment{}, err
	}
	found := launch.Environment{Vars: env.Vars, Path: env.PathPrepend, Release: func() {
		if err := hold.Close(); err != nil {
			e.config.Log.Warn("an environment could not be let go", "environment", env.Key, "error", err)
		}
	}}
	if env.WorkDir != "" {
		found.Seed = env.CopyWorkDir
	}
	return found, nil
}

// urls makes absolute addresses of signed paths.
type urls struct {
	base   string
	signer *objects.Signer
}

func (u urls) SignPut(key objects.Key, expires time.Duration, length int64, md5 *[16]byte) (string, map[string]string, time.Time, error) {
	until := time.Now().Add(expires)
	return u.base + u.signer.SignPut(key, objects.Upload{Expires: until, Size: length, MD5: md5}), nil, until, nil
}

func (u urls) SignGet(key objects.Key, expires time.Duration) (string, time.Time, error) {
	until := time.Now().Add(expires)
	return u.base + u.signer.SignGet(key, until), until, nil
}
