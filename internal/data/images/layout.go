package images

import (
	"context"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	// imageHome is the working directory of the SDK's default image (flyte/_image.py, _get_default_image_for).
	imageHome = "/home/flyte"
	// imageVenv is where the SDK's images have their virtual environment.
	imageVenv = "/opt/venv"
	// imagePythonPath is PYTHONPATH in the SDK's default image.
	imagePythonPath = "/root"
	// imageFiles is the variable that tells a task where the container's "/" is here.
	imageFiles = "BIPLANE_IMAGE_FILES"
)

// reference is the use of a variable in the value of another.
var reference = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*`)

// layout is the file system and the environment variables that an image would have in a container, kept in container
// paths until the end.
type layout struct {
	root    string // the environment's folder
	workdir string // a container path
	vars    map[string]string
}

func newLayout(root string) *layout {
	return &layout{root: root, workdir: imageHome, vars: map[string]string{}}
}

// files is the folder that stands for the container's "/".
func (l *layout) files() string { return filepath.Join(l.root, "fs") }

// absolute is a path of the container, seen from its working directory.
func (l *layout) absolute(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join("/", l.workdir, p) // Join cleans, so ".." ends at "/"
}

// host is the folder or file here that stands for a path of the container.
func (l *layout) host(p string) string {
	if rest, ok := strings.CutPrefix(path.Clean(p), imageVenv); ok && (rest == "" || rest[0] == '/') {
		return filepath.Join(l.root, "venv", filepath.FromSlash(rest))
	}
	return filepath.Join(l.files(), filepath.FromSlash(path.Clean("/"+p)))
}

// translate gives the place here of a container path that the image has put there, and any other value unchanged.
func (l *layout) translate(value string) (string, bool) {
	if path.IsAbs(value) {
		if _, err := os.Stat(l.host(value)); err == nil {
			return l.host(value), true
		}
	}
	return value, false
}

// set adds variables; $NAME and ${NAME} stand for variables of earlier layers, as in a Dockerfile.
func (l *layout) set(vars map[string]string) {
	earlier := maps.Clone(l.vars)
	for name, value := range vars {
		l.vars[name] = reference.ReplaceAllStringFunc(value, func(used string) string {
			if old, ok := earlier[strings.Trim(used, "${}")]; ok {
				return old
			}
			return used
		})
	}
}

// env is the finished environment.
func (l *layout) env(key string) Env {
	e := Env{Key: key, Root: l.root, Python: filepath.Join(l.root, "venv", "bin", "python"), Vars: map[string]string{}}
	bin := filepath.Dir(e.Python)
	for _, element := range strings.Split(l.vars["PATH"], ":") {
		if element == "" || strings.HasPrefix(element, "$") {
			continue // the PATH before, which is the machine's
		}
		element, _ = l.translate(element)
		if !slices.Contains(e.PathPrepend, element) {
			e.PathPrepend = append(e.PathPrepend, element)
		}
	}
	if !slices.Contains(e.PathPrepend, bin) {
		e.PathPrepend = append([]string{bin}, e.PathPrepend...)
	}
	for name, value := range l.vars {
		e.Vars[name] = l.value(name, value)
	}
	delete(e.Vars, "PATH")
	delete(e.Vars, "UV_PYTHON") // names the interpreter of the container
	e.Vars["VIRTUAL_ENV"] = filepath.Join(l.root, "venv")
	e.Vars[imageFiles] = l.files()
	if place, ok := l.translate(l.workdir); ok {
		e.WorkDir = place
	}
	if e.Vars["PYTHONPATH"] = l.pythonPath(); e.Vars["PYTHONPATH"] == "" {
		delete(e.Vars, "PYTHONPATH")
	}
	return e
}

// value translates a variable: one path, or several as in LD_LIBRARY_PATH.
func (l *layout) value(name, value string) string {
	if !strings.HasSuffix(name, "PATH") {
		value, _ = l.translate(value)
		return value
	}
	elements := strings.Split(value, ":")
	for i := range elements {
		elements[i], _ = l.translate(elements[i])
	}
	return strings.Join(elements, ":")
}

// pythonPath holds the folders of the image that Python looks into. Those that the image has not filled are left out: the
// machine may have a folder of that name with something else in it.
func (l *layout) pythonPath() string {
	var found []string
	for _, element := range append(strings.Split(l.vars["PYTHONPATH"], ":"), l.workdir, imagePythonPath) {
		place, ok := l.translate(element)
		relative := element != "" && !path.IsAbs(element) && element[0] != '$' // to the working directory, of which an attempt has a copy
		if (ok || relative) && !slices.Contains(found, place) {
			found = append(found, place)
		}
	}
	return strings.Join(found, ":")
}

// envStep sets variables.
type envStep struct{ vars map[string]string }

func (e *envStep) content(files) (any, error) { return e.vars, nil }

func (e *envStep) apply(_ context.Context, b *build, _ files) error {
	b.layout.set(e.vars)
	return nil
}

// workdirStep changes the working directory.
type workdirStep struct{ to string }

func (w *workdirStep) content(files) (any, error) { return w.to, nil }

func (w *workdirStep) apply(_ context.Context, b *build, _ files) error {
	b.layout.workdir = b.layout.absolute(w.to)
	return nil
}

// copyStep puts a file or the content of a folder into the image, with the rules of COPY in a Dockerfile.
type copyStep struct {
	field string
	from  string // in the build context
	to    string // a path of the container, relative to the working directory
}

func (c *copyStep) content(from files) (any, error) {
	path, err := from.path(c.field, c.from)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	name := ""
	if !info.IsDir() {
		name = filepath.Base(path)
	}
	sum, err := digestTree(path)
	return []any{sum, name, c.to}, err
}

func (c *copyStep) apply(_ context.Context, b *build, from files) error {
	source, err := from.path(c.field, c.from)
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	target := b.layout.absolute(c.to)
	place := b.layout.host(target)
	b.progress.say("Copying to %s, which is %s in this environment", target, place)
	if info.IsDir() {
		return copyTree(place, source)
	}
	existing, err := os.Stat(place)
	folder := err == nil && existing.IsDir() || strings.HasSuffix(c.to, "/") || c.to == "." || target == b.layout.workdir
	if folder {
		place = filepath.Join(place, filepath.Base(source))
	}
	return copyFile(place, source)
}
