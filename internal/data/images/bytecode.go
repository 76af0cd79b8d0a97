package images

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// installSDK installs flyte. Compiling it and what it needs takes most of the time of a build, so the bytecode is taken
// over from the base environment when there is one.
func (b *build) installSDK(ctx context.Context, r recipe, python interpreter) error {
	sdk := "flyte==" + r.SDK
	base := b.store.placeOf(baseRecipe(r.Python, r.SDK), python)
	if !b.store.finished(base) || b.store.folder(base) == b.layout.root {
		return b.install(ctx, sdk, "", options{}, nil, "--", sdk)
	}
	held, err := acquire(ctx, b.store.lockOf(base), false, nil)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }()
	if err := b.install(ctx, sdk, "", options{}, map[string]string{"UV_COMPILE_BYTECODE": ""}, "--", sdk); err != nil {
		return err
	}
	packages := filepath.Join("venv", "lib", "python"+python.minor(), "site-packages")
	return shareBytecode(filepath.Join(b.layout.root, packages), filepath.Join(b.store.folder(base), packages))
}

// shareBytecode links the compiled files below from into to, where the source is the same by the rule of Python itself: size and
// modification time. A file that is not taken over is compiled by Python when it is first imported.
func shareBytecode(to, from string) error {
	err := filepath.WalkDir(from, func(compiled string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !strings.HasSuffix(compiled, ".pyc") {
			return err
		}
		folder, name := filepath.Split(compiled)
		module, _, _ := strings.Cut(name, ".")
		source := filepath.Join(filepath.Dir(filepath.Clean(folder)), module+".py")
		relative, err := filepath.Rel(from, source)
		if err != nil || !sameSource(source, filepath.Join(to, relative)) {
			return err
		}
		target := filepath.Join(to, filepath.Dir(relative), filepath.Base(folder), name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		// Python never changes a compiled file, it replaces it; so both can have the same one.
		if err := os.Link(compiled, target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return nil
	})
	return ignoreMissing(err)
}

func sameSource(one, other string) bool {
	a, err := os.Stat(one)
	if err != nil {
		return false
	}
	b, err := os.Stat(other)
	return err == nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
