package secrets_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/internal/data/secrets"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

var project = names.Project{Org: "local", Project: "p", Domain: "d"}

func asEnv(key, name string) *core.Secret {
	return &core.Secret{Key: key, EnvVar: name, MountRequirement: core.Secret_ENV_VAR}
}

func asFile(key, name string) *core.Secret {
	return &core.Secret{Key: key, EnvVar: name, MountRequirement: core.Secret_FILE}
}

func vault(t *testing.T, values map[string]string) *secrets.Vault {
	t.Helper()
	b := openFile(t, t.TempDir())
	for name, value := range values {
		if err := b.Create(t.Context(), orgWide(name), generic, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	return secrets.NewVault(b)
}

func TestLookupIsNarrowFirst(t *testing.T) {
	t.Parallel()
	b := openFile(t, t.TempDir())
	v := secrets.NewVault(b)
	for _, scope := range []secrets.Scope{{Org: "local"}, {Org: "local", Domain: "d"}, {Org: "local", Domain: "d", Project: "p"}} {
		if err := b.Create(t.Context(), secrets.ID{Scope: scope, Name: "k"}, generic, []byte(scope.Domain+scope.Project)); err != nil {
			t.Fatal(err)
		}
		if got, err := v.Lookup(t.Context(), project, "k"); err != nil || string(got) != scope.Domain+scope.Project {
			t.Errorf("%v: got %q, %v", scope, got, err)
		}
	}
	if got, err := v.Lookup(t.Context(), names.Project{Org: "local", Project: "q", Domain: "e"}, "k"); err != nil || string(got) != "" {
		t.Errorf("another domain: got %q, %v", got, err)
	}
	_, err := v.Lookup(t.Context(), project, "nothing")
	if !fault.Is(err, fault.KindNotFound) || !strings.Contains(err.Error(), "flyte create secret nothing --project p --domain d") {
		t.Error(err)
	}
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	v := vault(t, map[string]string{"api-key": "one", "Cert": "-----BEGIN\x00", "other": "two"})
	env, files, err := v.Deliver(t.Context(), project, []*core.Secret{
		asEnv("api-key", "API_KEY"), asEnv("api-key", "API_KEY"), asEnv("other", ""), asFile("Cert", ""), asFile("other", "OTHER_PATH"),
	})
	want := map[string]string{
		"API_KEY": "one", "_UNION_OTHER": "two", "FLYTE_SECRETS_ENV_PREFIX": "_UNION_",
		"FLYTE_SECRETS_DEFAULT_DIR": "{{secrets}}", "FLYTE_SECRETS_FILE_PREFIX": "", "OTHER_PATH": "{{secrets}}/other",
	}
	if err != nil || !maps.Equal(env, want) {
		t.Errorf("env %v, %v", env, err)
	}
	if len(files) != 2 || files[0].Path != "cert" || string(files[0].Content) != "-----BEGIN\x00" || files[1].Path != "other" {
		t.Errorf("files %v", files)
	}
	if env, files, err := v.Deliver(t.Context(), project, nil); err != nil || len(env) != 0 || len(files) != 0 {
		t.Errorf("nothing asked: %v, %v, %v", env, files, err)
	}
}

func TestWhatCannotBeDelivered(t *testing.T) {
	t.Parallel()
	const hidden = "hidden-value"
	v := vault(t, map[string]string{"a": hidden, "A": hidden, "b": hidden + "\x00", "long": strings.Repeat(hidden, 12000)})
	for name, c := range map[string]struct {
		wanted []*core.Secret
		kind   fault.Kind
		words  string
	}{
		"missing":             {[]*core.Secret{asEnv("a", "X"), asEnv("nobody", "Y")}, fault.KindNotFound, "flyte create secret nobody"},
		"bad key":             {[]*core.Secret{asEnv("../a", "X")}, fault.KindInvalid, "security_context.secrets.key"},
		"bad variable":        {[]*core.Secret{asEnv("a", "X=Y")}, fault.KindInvalid, "env_var"},
		"bad path variable":   {[]*core.Secret{asFile("a", "X Y")}, fault.KindInvalid, "env_var"},
		"binary as variable":  {[]*core.Secret{asEnv("b", "X")}, fault.KindPrecondition, "as a file"},
		"too long a variable": {[]*core.Secret{asEnv("long", "X")}, fault.KindPrecondition, "as a file"},
		"same variable":       {[]*core.Secret{asEnv("a", "X"), asEnv("A", "X")}, fault.KindPrecondition, "as_env_var"},
		"same file":           {[]*core.Secret{asFile("a", ""), asFile("A", "")}, fault.KindPrecondition, "same file"},
		"too many":            {make([]*core.Secret, 257), fault.KindInvalid, "257"},
	} {
		env, files, err := v.Deliver(t.Context(), project, c.wanted)
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) || env != nil || files != nil {
			t.Errorf("%s: %v, %v, %v", name, env, files, err)
		}
		for cause := err; cause != nil; cause = errors.Unwrap(cause) {
			if strings.Contains(fmt.Sprintf("%+v %#v", cause, cause), hidden) {
				t.Errorf("%s: the error holds a value", name)
			}
		}
	}
}
