package images

import (
	"context"
	"path/filepath"

	"biplane.dev/biplane/internal/fault"
)

// UVVersion is the version of uv that builds environments.
const UVVersion = "0.13.9"

func (s *Store) toolPlace(python interpreter) place {
	return place{kind: "tools", key: "uv-" + UVVersion + "-" + digestOf(python.Path, python.Version)[:12]}
}

// tool is the path of uv: the configured one, or ours in the cache, installed if need be with the pip of the plane's Python.
func (s *Store) tool(ctx context.Context, progress Progress) (string, error) {
	if s.uv != "" {
		path, err := s.lookPath(s.uv)
		if err != nil {
			return "", fault.Wrap(err, fault.KindPrecondition, "uv is not found at %s: install it there, or leave the setting empty", s.uv)
		}
		return path, nil
	}
	python, err := s.interpreterFor(ctx, "", nil)
	if err != nil {
		return "", err
	}
	at := s.toolPlace(python)
	uv := filepath.Join(s.folder(at), "bin", "uv")
	if !python.Pip {
		if found := s.onPath("uv"); len(found) > 0 {
			return found[0], nil
		}
		return "", fault.New(fault.KindPrecondition,
			"Python at %s cannot make virtual environments (no ensurepip): install its venv package (on Debian and Ubuntu: apt install python3-venv), or install uv",
			python.Path)
	}
	err = s.provide(ctx, at, "uv", progress, func(root string, held *lock) (any, error) {
		progress.say("Installing uv %s into %s", UVVersion, root)
		if err := s.run(ctx, command{what: "make a virtual environment with " + python.Path, lock: held,
			args: []string{python.Path, "-I", "-m", "venv", root}}, progress); err != nil {
			return nil, s.buildFault(err)
		}
		err := s.run(ctx, command{what: "install uv " + UVVersion, lock: held, args: []string{
			filepath.Join(root, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-input", "--only-binary=:all:", "uv==" + UVVersion,
		}}, progress)
		return struct{}{}, s.buildFault(err)
	})
	return uv, err
}
