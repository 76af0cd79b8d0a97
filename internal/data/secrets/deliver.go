package secrets

import (
	"bytes"
	"context"
	"regexp"
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Names that user code finds secrets by (WIRE.md section 1.10).
const (
	envPrefix     = "_UNION_"
	envPrefixName = "FLYTE_SECRETS_ENV_PREFIX"
	folderName    = "FLYTE_SECRETS_DEFAULT_DIR"
	filePrefix    = "FLYTE_SECRETS_FILE_PREFIX"
	folder        = "{{secrets}}" // the executor puts the attempt's private folder here
)

// Limits of one attempt.
const (
	maxSecrets = 256
	// maxVariable is the longest "NAME=value" that Linux takes, in bytes.
	maxVariable = 128<<10 - 1
)

const asFileInstead = `ask for it as a file: flyte.Secret(key=%q, mount="/etc/flyte/secrets")`

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Deliver looks up what a task's security context asks for, and returns the variables and files that the attempt must
// get. A secret that is missing, or cannot be given in the wanted way, is a fault that names its key and says what to do.
func (v *Vault) Deliver(ctx context.Context, project names.Project, wanted []*core.Secret) (env map[string]string, files []executor.File, err error) {
	if len(wanted) > maxSecrets {
		return nil, nil, fault.Invalid("security_context.secrets", "holds %d secrets; at most %d are allowed", len(wanted), maxSecrets)
	}
	d := delivery{env: map[string]string{}, from: map[string]string{}}
	for _, want := range wanted {
		value, err := v.Lookup(ctx, project, want.GetKey())
		if err != nil {
			return nil, nil, err
		}
		if want.GetMountRequirement() == core.Secret_FILE {
			err = d.file(want, value)
		} else {
			err = d.variable(want, value)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return d.env, d.files, nil
}

type delivery struct {
	env   map[string]string
	from  map[string]string // which key a variable or file was made from
	files []executor.File
}

func (d *delivery) variable(want *core.Secret, value []byte) error {
	key, name := want.GetKey(), want.GetEnvVar()
	if name == "" {
		name = envPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
	}
	if !variable.MatchString(name) {
		return fault.Invalid("security_context.secrets.env_var", "%.64q is not the name of an environment variable", name)
	}
	if bytes.IndexByte(value, 0) >= 0 {
		return fault.New(fault.KindPrecondition, "secret %q is binary and cannot be an environment variable; "+asFileInstead, key, key)
	}
	if len(name)+1+len(value) > maxVariable {
		return fault.New(fault.KindPrecondition, "secret %q is too long for an environment variable; "+asFileInstead, key, key)
	}
	d.env[envPrefixName] = envPrefix
	return d.set(name, key, string(value))
}

func (d *delivery) file(want *core.Secret, value []byte) error {
	key, name := want.GetKey(), strings.ToLower(want.GetKey())
	path := folder + "/" + name
	if known, taken := d.from[path]; taken && known != key {
		return fault.New(fault.KindPrecondition, "secrets %q and %q would be the same file %s; "+
			"ask for one of them as an environment variable", known, key, name)
	} else if !taken {
		d.from[path] = key
		d.files = append(d.files, executor.File{Path: name, Content: value})
	}
	d.env[folderName], d.env[filePrefix] = folder, ""
	if want.GetEnvVar() == "" {
		return nil
	}
	if !variable.MatchString(want.GetEnvVar()) {
		return fault.Invalid("security_context.secrets.env_var", "%.64q is not the name of an environment variable", want.GetEnvVar())
	}
	return d.set(want.GetEnvVar(), key, path)
}

func (d *delivery) set(name, key, value string) error {
	if known, taken := d.from[name]; taken && known != key {
		return fault.New(fault.KindPrecondition, "secrets %q and %q both go to the environment variable %s; "+
			"give one of them another as_env_var", known, key, name)
	}
	d.from[name] = key
	d.env[name] = value
	return nil
}
