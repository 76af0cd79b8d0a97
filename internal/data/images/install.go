package images

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// pipStep installs packages by name.
type pipStep struct {
	Packages []string
	options
}

func (p *pipStep) content(files) (any, error) { return p, nil }

func (p *pipStep) apply(ctx context.Context, b *build, _ files) error {
	if len(p.Packages) == 0 {
		return nil
	}
	return b.install(ctx, strings.Join(p.Packages, " "), "", p.options, nil, append([]string{"--"}, p.Packages...)...)
}

// requirementsStep installs what a requirements file lists.
type requirementsStep struct {
	field string
	file  string // in the build context
	options
}

func (r *requirementsStep) content(from files) (any, error) {
	path, err := from.path(r.field, r.file)
	if err != nil {
		return nil, err
	}
	sum, err := digestFile(path)
	return []any{sum, r.options}, err
}

func (r *requirementsStep) apply(ctx context.Context, b *build, from files) error {
	path, err := from.path(r.field, r.file)
	if err != nil {
		return err
	}
	return b.install(ctx, filepath.Base(r.file), filepath.Dir(path), r.options, nil, "--requirement", path)
}

// wheelsStep installs a package from wheel files that came with the spec, its dependencies from the index.
type wheelsStep struct {
	field string
	dir   string // in the build context
	name  string // of the package
	options
}

func (w *wheelsStep) content(from files) (any, error) {
	path, err := from.path(w.field, w.dir)
	if err != nil {
		return nil, err
	}
	sum, err := digestTree(path)
	return []any{sum, w.name, w.options}, err
}

// apply installs twice, as the SDK's own builder does: first the package with its dependencies, then exactly the wheel that
// came with the spec, which a resolver may have passed over for a released version.
func (w *wheelsStep) apply(ctx context.Context, b *build, from files) error {
	path, err := from.path(w.field, w.dir)
	if err != nil {
		return err
	}
	if err := b.install(ctx, w.name, "", w.options, nil, "--find-links", path, "--", w.name); err != nil {
		return err
	}
	return b.install(ctx, w.name+" from the given wheel", "", w.options, nil,
		"--find-links", path, "--no-deps", "--no-index", "--reinstall", "--", w.name)
}

// projectStep installs a uv project: its dependencies, and itself unless the options say --no-install-project.
type projectStep struct {
	field    string
	project  string // folder of pyproject.toml, in the build context
	lockFile string // uv.lock, in the build context; empty when there is none
	source   string // folder that holds the project and what it refers to, in the build context
	options
}

func (p *projectStep) content(from files) (any, error) {
	source := p.source
	if source == "" {
		source = p.project
	}
	path, err := from.path(p.field, source)
	if err != nil {
		return nil, err
	}
	inside, err := filepath.Rel(filepath.FromSlash(source), filepath.FromSlash(p.project))
	if err != nil {
		return nil, err
	}
	sum, err := digestTree(path)
	if err != nil {
		return nil, err
	}
	lockSum := ""
	if p.lockFile != "" {
		lockPath, err := from.path(p.field, p.lockFile)
		if err != nil {
			return nil, err
		}
		if lockSum, err = digestFile(lockPath); err != nil {
			return nil, err
		}
	}
	return []any{sum, filepath.ToSlash(inside), lockSum, p.options}, nil
}

// apply synchronises the environment with the project. --inexact keeps the packages of earlier layers; --no-editable,
// because an editable install would point into the build context, which is gone afterwards.
func (p *projectStep) apply(ctx context.Context, b *build, from files) error {
	folder, err := from.path(p.field, p.project)
	if err != nil {
		return err
	}
	if p.lockFile != "" {
		lockPath, err := from.path(p.field, p.lockFile)
		if err != nil {
			return err
		}
		if beside := filepath.Join(folder, "uv.lock"); beside != lockPath {
			if err := copyFile(beside, lockPath); err != nil {
				return err
			}
		}
	}
	env := p.options.env(b.store.environ)
	env["VIRTUAL_ENV"] = b.venv()
	args := append([]string{b.uv, "sync", "--active", "--inexact", "--no-editable", "--python", b.python()}, p.options.args()...)
	return b.run(ctx, command{what: "install the uv project " + filepath.Base(p.project), args: args, dir: folder, env: env})
}

// has says whether the distribution of this name is installed.
func (b *build) has(name string) bool {
	for _, pattern := range []string{"lib", "lib64"} {
		found, err := filepath.Glob(filepath.Join(escapeGlob(b.venv()), pattern, "python*", "site-packages", name+"-*.dist-info"))
		if err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// install runs uv's pip in the environment; env goes over the options' own variables.
func (b *build) install(ctx context.Context, what, dir string, o options, env map[string]string, args ...string) error {
	if dir == "" {
		dir = os.TempDir() // not a folder with a pyproject.toml of the plane's operator
	}
	merged := o.env(b.store.environ)
	maps.Copy(merged, env)
	all := append([]string{b.uv, "pip", "install", "--python", b.python()}, o.args()...)
	return b.run(ctx, command{what: "install " + abbreviate(what), args: append(all, args...), dir: dir, env: merged})
}
