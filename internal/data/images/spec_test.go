package images

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
)

func pip(o *imagebuilder.PipOptions, packages ...string) *imagebuilder.Layer {
	return &imagebuilder.Layer{Layer: &imagebuilder.Layer_PipPackages{PipPackages: &imagebuilder.PipPackages{Packages: packages, Options: o}}}
}

func apt(packages ...string) *imagebuilder.Layer {
	return &imagebuilder.Layer{Layer: &imagebuilder.Layer_AptPackages{AptPackages: &imagebuilder.AptPackages{Packages: packages}}}
}

func copyLayer(from, to string) *imagebuilder.Layer {
	return &imagebuilder.Layer{Layer: &imagebuilder.Layer_CopyConfig{CopyConfig: &imagebuilder.CopyConfig{Src: from, Dst: to}}}
}

func TestLayersRefused(t *testing.T) {
	t.Parallel()
	project := &imagebuilder.Layer{Layer: &imagebuilder.Layer_UvProject{UvProject: &imagebuilder.UVProject{Pyproject: "p"}}}
	for name, c := range map[string]struct {
		layers []*imagebuilder.Layer
		kind   fault.Kind
		words  []string
	}{
		"apt":           {[]*imagebuilder.Layer{pip(nil, "six"), apt("curl")}, fault.KindUnsupported, []string{"layers[1]", "curl"}},
		"git alone":     {[]*imagebuilder.Layer{apt("git")}, fault.KindUnsupported, []string{"git"}},
		"git and more":  {[]*imagebuilder.Layer{apt("git", "curl"), project}, fault.KindUnsupported, []string{"curl"}},
		"unknown":       {[]*imagebuilder.Layer{{}}, fault.KindUnsupported, []string{"layers[0]", "does not know", "update"}},
		"option":        {[]*imagebuilder.Layer{pip(nil, "-rfile")}, fault.KindInvalid, []string{"-rfile", "extra_args"}},
		"empty package": {[]*imagebuilder.Layer{pip(nil, " ")}, fault.KindInvalid, nil},
		"target":        {[]*imagebuilder.Layer{pip(&imagebuilder.PipOptions{ExtraArgs: "--no-deps --target /x"}, "six")}, fault.KindInvalid, []string{"layers[0].extra_args", "--target"}},
		"short":         {[]*imagebuilder.Layer{pip(&imagebuilder.PipOptions{ExtraArgs: "-t/x"}, "six")}, fault.KindInvalid, []string{"-t/x"}},
		"quoted":        {[]*imagebuilder.Layer{pip(&imagebuilder.PipOptions{ExtraArgs: `"--prefix"=/x`}, "six")}, fault.KindInvalid, []string{"--prefix"}},
		"open quote":    {[]*imagebuilder.Layer{pip(&imagebuilder.PipOptions{ExtraArgs: `"--pre`}, "six")}, fault.KindInvalid, []string{"quote"}},
		"two indexes":   {[]*imagebuilder.Layer{pip(&imagebuilder.PipOptions{IndexUrl: "https://a https://b"}, "six")}, fault.KindInvalid, []string{"space"}},
		"variable": {[]*imagebuilder.Layer{{Layer: &imagebuilder.Layer_Env{Env: &imagebuilder.Env{EnvVariables: map[string]string{"A=B": "c"}}}}},
			fault.KindInvalid, []string{"A=B"}},
	} {
		_, err := parseSteps(&imagebuilder.ImageSpec{Layers: c.layers})
		if !fault.Is(err, c.kind) {
			t.Errorf("%s: got %v, want kind %d", name, err, c.kind)
			continue
		}
		for _, word := range c.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not say %q", name, err, word)
			}
		}
	}
	// What the SDK adds by itself before a project is no reason to refuse.
	if steps, err := parseSteps(&imagebuilder.ImageSpec{Layers: []*imagebuilder.Layer{apt("git"), project}}); err != nil || len(steps) != 1 {
		t.Errorf("got %v, %v, want the project only", steps, err)
	}
}

func TestFilesOutsideTheContext(t *testing.T) {
	t.Parallel()
	store := testStore(t)
	for _, path := range []string{"../secret", "/etc/passwd", "a/../../b", "missing", ""} {
		for _, layer := range []*imagebuilder.Layer{
			copyLayer(path, "."),
			{Layer: &imagebuilder.Layer_Requirements{Requirements: &imagebuilder.Requirements{File: path}}},
			{Layer: &imagebuilder.Layer_UvProject{UvProject: &imagebuilder.UVProject{Pyproject: path}}},
			{Layer: &imagebuilder.Layer_PythonWheels{PythonWheels: &imagebuilder.PythonWheels{Dir: path, PackageName: "a"}}},
		} {
			spec := &imagebuilder.ImageSpec{BaseImage: "ghcr.io/flyteorg/flyte:py3.11-v2.12.1", Layers: []*imagebuilder.Layer{layer}}
			if _, err := store.Build(t.Context(), spec, nil, "a:b", nil); !fault.Is(err, fault.KindInvalid) {
				t.Errorf("%v: got %v, want KindInvalid", layer, err)
			}
		}
	}
}

func TestCredentialsStayOffTheCommandLine(t *testing.T) {
	t.Parallel()
	o, err := parseOptions("f", &imagebuilder.PipOptions{
		IndexUrl: "https://me:pass@a/simple", ExtraIndexUrls: []string{"https://b", "https://c"}, Pre: true, ExtraArgs: `--no-deps  "--exclude-newer=2026-01-01 00:00"`,
	}, pipRefused)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := o.args(), []string{"--prerelease=allow", "--no-deps", "--exclude-newer=2026-01-01 00:00"}; !slices.Equal(got, want) {
		t.Errorf("arguments %q, want %q", got, want)
	}
	want := map[string]string{"UV_DEFAULT_INDEX": "https://me:pass@a/simple", "UV_INDEX_URL": "", "UV_INDEX": "https://b https://c https://machine"}
	if got := o.env(map[string]string{"UV_INDEX": "https://machine"}); !maps.Equal(got, want) {
		t.Errorf("variables %q, want %q", got, want)
	}
}

func TestBuildEnvironIsShort(t *testing.T) {
	t.Parallel()
	env := buildEnviron([]string{"PATH=/bin", "PLANE_KEY=secret", "UV_PYTHON=/x", "UV_TARGET=/y", "PIP_TARGET=/y", "PYTHONPATH=/z",
		"UV_INDEX_ACME_PASSWORD=p", "PIP_INDEX_URL=https://mirror", "PIP_CERT=/ca.pem"}, "/cache")
	for _, name := range []string{"PLANE_KEY", "UV_PYTHON", "UV_TARGET", "PIP_TARGET", "PYTHONPATH"} {
		if value, ok := env[name]; ok {
			t.Errorf("builds see %s=%s", name, value)
		}
	}
	for name, want := range map[string]string{"PATH": "/bin", "UV_INDEX_ACME_PASSWORD": "p", "UV_DEFAULT_INDEX": "https://mirror",
		"SSL_CERT_FILE": "/ca.pem", "UV_CACHE_DIR": "/cache", "UV_PYTHON_DOWNLOADS": "never"} {
		if env[name] != want {
			t.Errorf("%s=%q, want %q", name, env[name], want)
		}
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	l := newLayout(root)
	for _, folder := range []string{"venv/bin", "fs/root", "fs/srv/lib", "fs/home/flyte"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// What the SDK sets for an image without itself, and then a user's.
	l.set(map[string]string{"VIRTUAL_ENV": "/opt/venv", "PATH": "/opt/venv/bin:$PATH", "PYTHONPATH": "/root", "UV_LINK_MODE": "copy"})
	l.set(map[string]string{"PATH": "/srv/lib:/usr/local/cuda/bin:${PATH}", "PYTHONPATH": "/srv/lib:/etc:sub:$PYTHONPATH", "LIB": "/srv/lib", "ETC": "/etc",
		"LD_LIBRARY_PATH": "/srv/lib:/usr/lib", "PRICE": "$5 or $UNKNOWN or 3$", "VENV": "${VIRTUAL_ENV}/bin"})
	e := l.env("key")
	if want := []string{root + "/fs/srv/lib", "/usr/local/cuda/bin", root + "/venv/bin"}; !slices.Equal(e.PathPrepend, want) {
		t.Errorf("PATH %q, want %q", e.PathPrepend, want)
	}
	want := map[string]string{
		"VIRTUAL_ENV": root + "/venv", "UV_LINK_MODE": "copy", "BIPLANE_IMAGE_FILES": root + "/fs",
		"PYTHONPATH": root + "/fs/srv/lib:sub:" + root + "/fs/root:" + root + "/fs/home/flyte",
		"LIB":        root + "/fs/srv/lib", "ETC": "/etc", "LD_LIBRARY_PATH": root + "/fs/srv/lib:/usr/lib",
		"PRICE": "$5 or $UNKNOWN or 3$", "VENV": root + "/venv/bin",
	}
	if !maps.Equal(e.Vars, want) {
		t.Errorf("variables\n%q, want\n%q", e.Vars, want)
	}
	if e.WorkDir != root+"/fs/home/flyte" {
		t.Errorf("working directory %s", e.WorkDir)
	}
	for path, want := range map[string]string{"../../../../etc/passwd": "/etc/passwd", "/../x": "/x", "./src": "/home/flyte/src", ".": "/home/flyte"} {
		if got := l.absolute(path); got != want || !strings.HasPrefix(l.host(got), root+"/fs/") {
			t.Errorf("%s is %s at %s, want %s below the environment", path, got, l.host(got), want)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	store := testStore(t)
	for image, kind := range map[string]fault.Kind{
		"":                                     fault.KindInvalid,
		"python:3.11-slim":                     fault.KindUnsupported,
		"python:3.11-slim-bookworm":            fault.KindUnsupported,
		"ghcr.io/flyteorg/flyte:py3.11":        fault.KindUnsupported,
		"ghcr.io/flyteorg/flyte:py3.11-vlocal": fault.KindUnsupported,
		"ghcr.io/flyteorg/flyte:py3.11-v2.0.0 --index-url=x": fault.KindUnsupported,
		"biplane.local/a:b":              fault.KindNotFound,
		"biplane.local/../a:b":           fault.KindUnsupported,
		"biplane.local/a:../../b":        fault.KindUnsupported,
		"evil.example/biplane.local/a:b": fault.KindUnsupported,
	} {
		if _, err := store.Resolve(t.Context(), image); !fault.Is(err, kind) {
			t.Errorf("%q: got %v, want kind %d", image, err, kind)
		}
	}
	if _, err := store.Resolve(t.Context(), "python:3.11-slim"); !strings.Contains(err.Error(), "container runtime") ||
		!strings.Contains(err.Error(), "default image") || !strings.Contains(err.Error(), "Kubernetes") {
		t.Errorf("%q does not say what to do", err)
	}
}

func TestGetImageRefuses(t *testing.T) {
	t.Parallel()
	service := NewService(testStore(t))
	for name, kind := range map[string]fault.Kind{
		"": fault.KindInvalid, "a": fault.KindInvalid, ":b": fault.KindInvalid, "../a:b": fault.KindInvalid, "a:b/c": fault.KindInvalid,
		"a\x00:b": fault.KindInvalid, "a:b": fault.KindNotFound,
	} {
		request := &imagebuilder.GetImageRequest{Id: &imagebuilder.ImageIdentifier{Name: name}}
		if _, err := service.GetImage(t.Context(), request); !fault.Is(err, kind) {
			t.Errorf("%q: got %v, want kind %d", name, err, kind)
		}
	}
}

func TestBuilderInputs(t *testing.T) {
	t.Parallel()
	bucket, err := objects.OpenFile(t.TempDir(), objects.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bucket.Close() })
	if _, err := bucket.Put(t.Context(), "spec.pb", strings.NewReader("\xff\xff"), objects.PutOptions{Size: -1}); err != nil {
		t.Fatal(err)
	}
	whole := map[string]*core.Literal{"spec": stringLiteral(bucket.URI("spec.pb")), "context": stringLiteral(""), "target_image": stringLiteral("a:b")}
	with := func(name string, value *core.Literal) *task.Inputs {
		inputs := &task.Inputs{}
		for n, v := range whole {
			if n == name {
				v = value
			}
			if v != nil {
				inputs.Literals = append(inputs.Literals, &task.NamedLiteral{Name: n, Value: v})
			}
		}
		return inputs
	}
	builder := NewBuilder(testStore(t), bucket)
	for name, c := range map[string]struct {
		inputs *task.Inputs
		kind   fault.Kind
	}{
		"no spec":    {with("spec", nil), fault.KindInvalid},
		"no context": {with("context", nil), fault.KindInvalid},
		"no target":  {with("target_image", nil), fault.KindInvalid},
		"number":     {with("spec", &core.Literal{}), fault.KindInvalid},
		"outside":    {with("spec", stringLiteral("/etc/passwd")), fault.KindInvalid},
		"missing":    {with("spec", stringLiteral(bucket.URI("other.pb"))), fault.KindNotFound},
		"not a spec": {with("", nil), fault.KindInvalid},
		"nothing":    {nil, fault.KindInvalid},
	} {
		if _, err := builder.Run(t.Context(), c.inputs, &strings.Builder{}); !fault.Is(err, c.kind) {
			t.Errorf("%s: got %v, want kind %d", name, err, c.kind)
		}
	}
	for _, target := range []string{"", "a", "a/b", "a:", ":b", "x/..:b", "a:b:c"} {
		if _, err := builder.store.Build(t.Context(), &imagebuilder.ImageSpec{BaseImage: "ghcr.io/flyteorg/flyte:py3.11-v2.12.1"}, nil, target, nil); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("target %q: got %v, want KindInvalid", target, err)
		}
	}
	if name, tag, err := splitTarget("localhost:30000/acme/a:b"); name != "a" || tag != "b" || err != nil {
		t.Errorf("got %s %s %v", name, tag, err)
	}
}

// testStore never builds anything.
func testStore(t *testing.T) *Store {
	t.Helper()
	store, err := Open(Config{State: t.TempDir(), Cache: t.TempDir(), UV: "/nonexistent/uv"})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// An image may want another Python than the plane's: uv or PATH finds one, but only one that really has that version.
func TestOtherPython(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := func(name, body string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	describes := func(name, version string) string {
		path := filepath.Join(dir, name)
		return script(name, `echo '{"path": "`+path+`", "version": "`+version+`", "pip": true}'`)
	}
	describes("python3", "3.11.7")
	found := describes("found/python3.12", "3.12.4")
	describes("python3.14", "3.13.9") // a lie
	script("python3.15", "exit 127")  // a shim without a Python behind it
	onPath := describes("python3.16", "3.16.0")
	uv := script("uv", `case "$4" in 3.12) echo '`+found+`' ;; *) exit 2 ;; esac`)
	store, err := Open(Config{Cache: t.TempDir(), UV: uv, Environ: []string{"PATH=" + dir}})
	if err != nil {
		t.Fatal(err)
	}
	for minor, want := range map[string]string{"3.11": filepath.Join(dir, "python3"), "3.12": found, "3.16": onPath} {
		if got, err := store.interpreterFor(t.Context(), minor, nil); err != nil || got.Path != want {
			t.Errorf("Python %s: %+v %v, want %s", minor, got, err, want)
		}
	}
	for _, minor := range []string{"3.13", "3.14", "3.15"} {
		_, err := store.interpreterFor(t.Context(), minor, nil)
		if !fault.Is(err, fault.KindPrecondition) || !strings.Contains(err.Error(), "python"+minor+" is on PATH") {
			t.Errorf("Python %s: %v", minor, err)
		}
	}
}
