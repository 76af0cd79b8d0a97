package images_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/images"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
)

// sdkWork is what the stock SDK, run in the base environment, has made of testdata/specs.py.
type sdkWork struct {
	bucket *objects.File
	folder string
	base   images.Env
}

// uploads runs the SDK once for all tests. The folder outlives the test that comes first, so it is not one of t's.
var uploads = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "biplane-images-") })

var runSDK sync.Once

func sdk(t *testing.T) (*images.Store, sdkWork) {
	t.Helper()
	if testing.Short() {
		t.Skip("installs packages from the index")
	}
	store := realStore(t)
	base, err := store.Base(t.Context(), func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	folder, err := uploads()
	if err != nil {
		t.Fatal(err)
	}
	runSDK.Do(func() { upload(t, base, folder) })
	if _, err := os.Stat(filepath.Join(folder, "inputs.pb")); err != nil {
		t.Fatal("the SDK did not finish: see the first test that uses it")
	}
	bucket, err := objects.OpenFile(t.TempDir(), objects.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bucket.Close() })
	return store, sdkWork{bucket: bucket, folder: folder, base: base}
}

func upload(t *testing.T, base images.Env, folder string) {
	t.Helper()
	source := t.TempDir()
	if err := os.CopyFS(source, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	tools, err := filepath.Glob(filepath.Join(realCache(t), "tools", "uv-"+images.UVVersion+"-*", "bin"))
	if err != nil || len(tools) == 0 {
		t.Fatalf("uv is not in the cache: %v", err)
	}
	details, err := proto.Marshal(&task.TaskDetails{
		TaskId: &task.TaskIdentifier{Project: images.TaskProject, Domain: images.TaskDomain, Name: images.TaskName, Version: images.TaskVersion},
		Spec:   images.TaskSpec(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "details.pb"), details, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, args := range map[string][]string{
		filepath.Join(source, "project"): {filepath.Join(tools[0], "uv"), "lock", "--quiet", "--python", base.Python},
		source:                           {base.Python, "specs.py", folder, "details.pb"},
	} {
		defer func() {
			command := exec.Command(args[0], args[1:]...)
			command.Dir = dir
			command.Env = append(os.Environ(), "PATH="+tools[0]+":"+os.Getenv("PATH"), "UV_PYTHON_DOWNLOADS=never")
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
		}()
	}
}

// build uploads what the SDK has made of the image called name, and runs the built-in task on it.
func (w sdkWork) build(t *testing.T, store *images.Store, name string) (string, error) {
	t.Helper()
	target, err := os.ReadFile(filepath.Join(w.folder, name, "target"))
	if err != nil {
		t.Fatal(err)
	}
	inputs := &task.Inputs{}
	for input, value := range map[string]string{
		"spec":         w.put(t, name, "spec.pb"),
		"context":      w.put(t, name, "context.tar.gz"),
		"target_image": string(target),
	} {
		inputs.Literals = append(inputs.Literals, &task.NamedLiteral{Name: input, Value: text(value)})
	}
	var log bytes.Buffer
	outputs, err := images.NewBuilder(store, w.bucket).Run(t.Context(), inputs, &log)
	t.Logf("%s:\n%s", name, log.String())
	if err != nil {
		return "", err
	}
	if len(outputs.GetLiterals()) != 1 || outputs.GetLiterals()[0].GetName() != "o0" {
		t.Fatalf("got %v, want one output o0", outputs)
	}
	return outputs.GetLiterals()[0].GetValue().GetScalar().GetPrimitive().GetStringValue(), nil
}

func (w sdkWork) put(t *testing.T, name, file string) string {
	t.Helper()
	content, err := os.Open(filepath.Join(w.folder, name, file))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	key := objects.Key(name + "/" + file)
	if _, err := w.bucket.Put(t.Context(), key, content, objects.PutOptions{Size: -1}); err != nil {
		t.Fatal(err)
	}
	return w.bucket.URI(key)
}

func text(value string) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{
		Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: value}},
	}}}}
}

// python runs code in an environment, as an attempt would: with its variables and a copy of its working directory.
func python(t *testing.T, env images.Env, code string) string {
	t.Helper()
	dir := t.TempDir()
	if err := env.CopyWorkDir(dir); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), env.Python, "-c", code)
	command.Dir = dir
	command.Env = []string{"PATH=" + strings.Join(append(slices.Clone(env.PathPrepend), "/usr/bin", "/bin"), ":")}
	for name, value := range env.Vars {
		command.Env = append(command.Env, name+"="+value)
	}
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", code, err, out)
	}
	return strings.TrimSpace(string(out))
}

// forget removes an environment that only one test has.
func forget(t *testing.T, env images.Env) {
	t.Cleanup(func() {
		if err := errors.Join(os.RemoveAll(env.Root), os.Remove(filepath.Join(realCache(t), "locks", "envs-"+env.Key+".lock"))); err != nil {
			t.Error(err)
		}
	})
}

func TestBase(t *testing.T) {
	t.Parallel()
	store, work := sdk(t)
	if got := python(t, work.base, "import flyte; print(flyte.__version__)"); got != images.SDKVersion {
		t.Errorf("flyte %s, want %s", got, images.SDKVersion)
	}
	minor := python(t, work.base, "import sys; print('%d.%d' % sys.version_info[:2])")
	env, err := store.Resolve(t.Context(), "ghcr.io/flyteorg/flyte:py"+minor+"-v"+images.SDKVersion)
	if err != nil || env.Key != work.base.Key {
		t.Errorf("the default image is %+v (%v), want the base environment %s", env, err, work.base.Key)
	}
	if got := python(t, env, "import shutil; print(shutil.which('a0'))"); got != filepath.Join(filepath.Dir(env.Python), "a0") {
		t.Errorf("a0 is %s, not that of the environment", got)
	}
	compiled, err := filepath.Glob(filepath.Join(env.Root, "venv/lib/python*/site-packages/flyte/__pycache__/*.pyc"))
	if err != nil || len(compiled) == 0 {
		t.Error("the packages are not compiled")
	}
}

func TestLayeredImage(t *testing.T) {
	t.Parallel()
	store, work := sdk(t)
	image, err := work.build(t, store, "layered")
	if err != nil {
		t.Fatal(err)
	}
	env, err := store.Resolve(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	forget(t, env)
	want := "1.17.0 3.10 7 guten Tag guten Tag, $PRICE " + env.Root + "/fs/opt/data " + images.SDKVersion + " idna==3.10"
	got := python(t, env, `import os, six, idna, shop, flyte
print(six.__version__, idna.__version__, shop.PRICE, os.environ["GREETING"], os.environ["BOTH"], os.environ["DATA"],
      flyte.__version__, open("conf/list.txt").read())`)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if env.PathPrepend[1] != env.Root+"/fs/opt/data" || env.PathPrepend[0] != env.Root+"/venv/bin" {
		t.Errorf("PATH begins with %v", env.PathPrepend)
	}

	// The SDK asks whether it is there before it builds again.
	name := strings.TrimPrefix(image, "biplane.local/")
	answer, err := images.NewService(store).GetImage(t.Context(), &imagebuilder.GetImageRequest{Id: &imagebuilder.ImageIdentifier{Name: name}})
	if err != nil || answer.GetImage().GetFqin() != image {
		t.Errorf("GetImage: %v %v, want %s", answer, err, image)
	}

	// Another plane has the same environment without building anything, and builds it again when it is gone.
	second := realStore(t)
	if _, err := second.Resolve(t.Context(), image); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("resolved by a plane that never built it: %v", err)
	}
	if _, err := work.build(t, second, "layered"); err != nil {
		t.Fatal(err)
	}
	shared, err := second.Resolve(t.Context(), image)
	if err != nil || shared.Key != env.Key {
		t.Errorf("got %+v (%v), want the shared environment", shared, err)
	}

	// An image can be the base of another one.
	spec := &imagebuilder.ImageSpec{BaseImage: image, Layers: []*imagebuilder.Layer{
		{Layer: &imagebuilder.Layer_Env{Env: &imagebuilder.Env{EnvVariables: map[string]string{"GREETING": "hello"}}}},
	}}
	derived, err := store.Build(t.Context(), spec, nil, "derived:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		env, err = store.Resolve(t.Context(), derived)
		if err != nil {
			t.Fatal(err)
		}
		if got := python(t, env, `import os, shop, idna; print(shop.PRICE, os.environ["GREETING"])`); got != "7 hello" {
			t.Errorf("got %s, want 7 hello", got)
		}
	}
	check()
	forget(t, env)
	if err := os.RemoveAll(env.Root); err != nil {
		t.Fatal(err)
	}
	check() // from the recipes
}

func TestProjectImages(t *testing.T) {
	t.Parallel()
	store, work := sdk(t)
	for name, code := range map[string]string{
		"project": `import six, weather, flyte; print(six.__version__, weather.forecast())`,
		"dependencies": `import importlib.util, six, flyte
print(six.__version__, "sun" if importlib.util.find_spec("weather") is None else "installed")`,
		"script": `import six, flyte; print(six.__version__, "sun")`,
	} {
		image, err := work.build(t, store, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		env, err := store.Resolve(t.Context(), image)
		if err != nil {
			t.Fatal(err)
		}
		forget(t, env)
		if got := python(t, env, code); got != "1.17.0 sun" {
			t.Errorf("%s: got %s", name, got)
		}
	}
	image, err := work.build(t, store, "plain")
	if err != nil {
		t.Fatal(err)
	}
	if env, err := store.Resolve(t.Context(), image); err != nil || env.Key != work.base.Key {
		t.Errorf("an image without layers is %s (%v), want the base", env.Key, err)
	}
}

func TestRefusedImages(t *testing.T) {
	t.Parallel()
	store, work := sdk(t)
	for name, want := range map[string]struct {
		kind  fault.Kind
		words []string
	}{
		"apt":       {fault.KindUnsupported, []string{"layers[0]", "apt: curl, git", "process executor", "Kubernetes"}},
		"commands":  {fault.KindUnsupported, []string{"layers[0]", "make world", "Kubernetes"}},
		"poetry":    {fault.KindUnsupported, []string{"Poetry", "with_uv_project"}},
		"foreign":   {fault.KindUnsupported, []string{"base_image", "debian:13", "no", "default image", "Kubernetes"}},
		"secret":    {fault.KindUnsupported, []string{"layers[0]", "mounts secrets"}},
		"elsewhere": {fault.KindInvalid, []string{"extra_args", "--target=/tmp/elsewhere"}},
	} {
		_, err := work.build(t, store, name)
		wantFault(t, err, want.kind, want.words...)
	}
}

func TestSDKCallsTheTask(t *testing.T) {
	t.Parallel()
	_, work := sdk(t)
	content, err := os.ReadFile(filepath.Join(work.folder, "inputs.pb"))
	if err != nil {
		t.Fatal(err)
	}
	inputs := &task.Inputs{}
	if err := proto.Unmarshal(content, inputs); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, literal := range inputs.GetLiterals() {
		got[literal.GetName()] = literal.GetValue().GetScalar().GetPrimitive().GetStringValue()
	}
	if len(got) != 3 || got["spec"] != "s3://b/spec.pb" || got["context"] != "" || got["target_image"] != "a:b" {
		t.Errorf("the SDK sends %v", inputs)
	}
}

func TestUnreachableIndex(t *testing.T) {
	t.Parallel()
	store, work := sdk(t)
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "UV_") })
	tools, err := filepath.Glob(filepath.Join(realCache(t), "tools", "uv-"+images.UVVersion+"-*", "bin", "uv"))
	if err != nil || len(tools) == 0 {
		t.Fatal("uv is not in the cache")
	}
	offline := open(t, images.Config{Cache: t.TempDir(), UV: tools[0],
		Environ: append(env, "UV_DEFAULT_INDEX=http://127.0.0.1:1/simple", "UV_HTTP_RETRIES=0")})
	_, err = offline.Base(context.Background(), nil)
	wantFault(t, err, fault.KindUnavailable, "index cannot be reached", "install flyte")

	spec := &imagebuilder.ImageSpec{BaseImage: "ghcr.io/flyteorg/flyte:py3.99-v" + images.SDKVersion}
	_, err = store.Build(t.Context(), spec, nil, "future:1", nil)
	minor := python(t, work.base, "import sys; print('%d.%d' % sys.version_info[:2])")
	wantFault(t, err, fault.KindPrecondition, "wants Python 3.99", "has "+minor, "python3.99")
}
