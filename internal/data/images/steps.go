package images

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/imagebuilder"
	"biplane.dev/biplane/internal/fault"
)

// step is one layer of an image in the form in which this executor can do it.
type step interface {
	// content is what of the step decides the result, for the image's key: digests of files, not their places.
	content(from files) (any, error)
	// apply does the step in an environment that is being built.
	apply(ctx context.Context, b *build, from files) error
}

// instead is the way out that every refusal names.
const instead = "or run the task on a Kubernetes data plane"

// parseSteps turns the layers of a spec into steps, or refuses the first that this executor cannot do.
func parseSteps(spec *imagebuilder.ImageSpec) ([]step, error) {
	var steps []step
	layers := spec.GetLayers()
	for i, layer := range layers {
		field := fmt.Sprintf("layers[%d]", i)
		if fromSDK(layers, i) {
			continue
		}
		s, secrets, err := parseStep(field, layer)
		if err != nil {
			return nil, err
		}
		if len(secrets) > 0 {
			return nil, refuse(field, "mounts secrets, and the process executor builds without them",
				"give the machine's own uv or pip settings the credentials of the private index")
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// fromSDK recognises layers that nobody asked for, which the SDK adds by itself (flyte/_image.py,
// _get_default_image_for; flyte/_internal/imagebuild/remote_builder.py, UVScript). They prepare a container: a user for it, a
// compiler and certificates, git before a project. Without one, the machine's own are used.
func fromSDK(layers []*imagebuilder.Layer, i int) bool {
	switch {
	case layers[i].GetCommands() != nil:
		cmd := layers[i].GetCommands().GetCmd()
		return len(cmd) == 1 && strings.HasPrefix(cmd[0], "if ! id -u flyte >/dev/null 2>&1; then useradd ")
	case layers[i].GetAptPackages() != nil:
		switch strings.Join(layers[i].GetAptPackages().GetPackages(), " ") {
		case "build-essential ca-certificates":
			return true
		case "git":
			return i+1 < len(layers) && layers[i+1].GetUvProject() != nil
		}
	}
	return false
}

func parseStep(field string, layer *imagebuilder.Layer) (step, []*core.Secret, error) {
	switch l := layer.GetLayer().(type) {
	case *imagebuilder.Layer_PipPackages:
		o, err := parseOptions(field, l.PipPackages.GetOptions(), pipRefused)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range l.PipPackages.GetPackages() {
			if strings.TrimSpace(name) == "" || strings.HasPrefix(strings.TrimSpace(name), "-") {
				return nil, nil, fault.Invalid(field, "%q is not the name of a package: options of the installer go into extra_args", name)
			}
		}
		return &pipStep{Packages: l.PipPackages.GetPackages(), options: o}, l.PipPackages.GetSecretMounts(), nil
	case *imagebuilder.Layer_Requirements:
		o, err := parseOptions(field, l.Requirements.GetOptions(), pipRefused)
		return &requirementsStep{field: field, file: l.Requirements.GetFile(), options: o}, l.Requirements.GetSecretMounts(), err
	case *imagebuilder.Layer_PythonWheels:
		o, err := parseOptions(field, l.PythonWheels.GetOptions(), pipRefused)
		name := l.PythonWheels.GetPackageName()
		if err == nil && (name == "" || strings.HasPrefix(name, "-")) {
			err = fault.Invalid(field, "%q is not the name of a package", name)
		}
		return &wheelsStep{field: field, dir: l.PythonWheels.GetDir(), name: name, options: o}, l.PythonWheels.GetSecretMounts(), err
	case *imagebuilder.Layer_UvProject:
		o, err := parseOptions(field, l.UvProject.GetOptions(), syncRefused)
		project := &projectStep{field: field, project: l.UvProject.GetPyproject(), lockFile: l.UvProject.GetUvlock(),
			source: l.UvProject.GetSourceDir(), options: o}
		return project, l.UvProject.GetSecretMounts(), err
	case *imagebuilder.Layer_CopyConfig:
		return &copyStep{field: field, from: l.CopyConfig.GetSrc(), to: l.CopyConfig.GetDst()}, nil, nil
	case *imagebuilder.Layer_Env:
		for name, value := range l.Env.GetEnvVariables() {
			if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
				return nil, nil, fault.Invalid(field, "%q cannot be an environment variable", name)
			}
		}
		return &envStep{vars: l.Env.GetEnvVariables()}, nil, nil
	case *imagebuilder.Layer_Workdir:
		if l.Workdir.GetWorkdir() == "" {
			return nil, nil, fault.Invalid(field, "the working directory is empty")
		}
		return &workdirStep{to: l.Workdir.GetWorkdir()}, nil, nil
	case *imagebuilder.Layer_AptPackages:
		return nil, nil, refuse(field, fmt.Sprintf("installs system packages (apt: %s), and the process executor has no container to put them in",
			abbreviate(strings.Join(l.AptPackages.GetPackages(), ", "))),
			"install them on the machine and drop the layer")
	case *imagebuilder.Layer_Commands:
		return nil, nil, refuse(field, fmt.Sprintf("runs commands (%s), and the process executor has no container to run them in",
			abbreviate(strings.Join(l.Commands.GetCmd(), "; "))),
			"prepare the machine by hand and drop the layer (pixi projects need commands too; use with_uv_project)")
	case *imagebuilder.Layer_PoetryProject:
		return nil, nil, refuse(field, "installs a Poetry project, and the process executor builds with uv", "use with_uv_project or with_requirements")
	}
	return nil, nil, refuse(field, "is of a kind that this version of the data plane does not know", "update the data plane, drop the layer")
}

// refuse says which layer cannot be done here, why, and what else to do.
func refuse(field, why, way string) error {
	return fieldFault(fault.KindUnsupported, field, "the layer %s: %s, %s", why, way, instead)
}

// fieldFault is a fault of any kind that blames a field.
func fieldFault(kind fault.Kind, field, format string, args ...any) *fault.Fault {
	f := fault.New(kind, format, args...)
	f.Field = field
	return f
}

func abbreviate(text string) string {
	const most = 200
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}

// contentOf is the canonical form of steps, to be digested.
func contentOf(steps []step, from files) (string, error) {
	list := make([]any, 0, 2*len(steps))
	for _, s := range steps {
		content, err := s.content(from)
		if err != nil {
			return "", err
		}
		list = append(list, fmt.Sprintf("%T", s), content)
	}
	canonical, err := json.Marshal(list)
	return string(canonical), err
}
