package images

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"biplane.dev/biplane/internal/fault"
)

// oldestPython is the first minor version of Python 3 that the SDK supports.
const oldestPython = 10

// interpreter is a Python on this machine.
type interpreter struct {
	Path    string `json:"path"`    // symbolic links resolved
	Version string `json:"version"` // "3.11.7"
	Pip     bool   `json:"pip"`     // it can make a virtual environment with pip in it
}

// minor is "3.11" of "3.11.7".
func (i interpreter) minor() string {
	parts := strings.SplitN(i.Version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// probe makes an interpreter describe itself.
const probe = `import json, os, sys
try:
    import ensurepip, venv
    pip = True
except ImportError:
    pip = False
print(json.dumps({"path": os.path.realpath(sys.executable), "version": "%d.%d.%d" % sys.version_info[:3], "pip": pip}))`

// interpreterFor finds the Python of an image: the plane's own when minor ("3.11") is empty or equal to its version,
// else another one of this machine. Nothing is downloaded.
func (s *Store) interpreterFor(ctx context.Context, minor string, progress Progress) (interpreter, error) {
	own, err := s.remembered("", func() (interpreter, error) { return s.ownPython(ctx) })
	if err != nil || minor == "" || minor == own.minor() {
		return own, err
	}
	return s.remembered(minor, func() (interpreter, error) { return s.otherPython(ctx, own, minor, progress) })
}

// remembered keeps what find found until its program is gone.
func (s *Store) remembered(minor string, find func() (interpreter, error)) (interpreter, error) {
	s.mu.Lock()
	found, ok := s.interpreters[minor]
	s.mu.Unlock()
	if ok {
		if _, err := os.Stat(found.Path); err == nil {
			return found, nil
		}
	}
	found, err := find()
	if err != nil {
		return interpreter{}, err
	}
	s.mu.Lock()
	s.interpreters[minor] = found
	s.mu.Unlock()
	return found, nil
}

func (s *Store) ownPython(ctx context.Context) (interpreter, error) {
	path, err := s.lookPath(s.python)
	if err != nil {
		return interpreter{}, fault.Wrap(err, fault.KindPrecondition,
			"%s is not found on PATH: install Python 3.%d or newer (on Debian and Ubuntu: apt install python3 python3-venv)",
			s.python, oldestPython)
	}
	own, err := s.describe(ctx, path)
	if err != nil {
		return interpreter{}, fault.Wrap(err, fault.KindPrecondition,
			"%s does not run: install Python 3.%d or newer, or name another interpreter (%v)", path, oldestPython, err)
	}
	if number, err := strconv.Atoi(strings.TrimPrefix(own.minor(), "3.")); err != nil || number < oldestPython {
		return interpreter{}, fault.New(fault.KindPrecondition,
			"%s is Python %s, and the SDK needs 3.%d or newer: install one and name it", path, own.Version, oldestPython)
	}
	return own, nil
}

func (s *Store) otherPython(ctx context.Context, own interpreter, minor string, progress Progress) (interpreter, error) {
	uv, err := s.tool(ctx, progress)
	if err != nil {
		return interpreter{}, err
	}
	candidates := s.onPath("python" + minor)
	// uv knows more places, but stops at the first program on PATH that does not run.
	find := command{what: "find Python " + minor, args: []string{uv, "python", "find", "--no-project", minor}}
	if path, err := s.ask(ctx, find); err == nil {
		candidates = append([]string{path}, candidates...)
	}
	for _, path := range candidates {
		if found, err := s.describe(ctx, path); err == nil && found.minor() == minor {
			return found, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return interpreter{}, s.buildFault(err)
	}
	return interpreter{}, fault.New(fault.KindPrecondition,
		"the image wants Python %s, which this machine does not have (it has %s): install it so that python%s is on PATH, or use an image for Python %s",
		minor, own.Version, minor, own.minor())
}

func (s *Store) describe(ctx context.Context, path string) (interpreter, error) {
	answer, err := s.ask(ctx, command{what: "ask " + path, args: []string{path, "-I", "-c", probe}})
	if err != nil {
		return interpreter{}, err
	}
	var found interpreter
	if err := json.Unmarshal([]byte(answer), &found); err != nil {
		return interpreter{}, err
	}
	if found.Path == "" || !strings.HasPrefix(found.Version, "3.") {
		return interpreter{}, errors.New("it is not Python 3")
	}
	return found, nil
}

// lookPath is exec.LookPath in the PATH of the builds.
func (s *Store) lookPath(program string) (string, error) {
	if strings.ContainsRune(program, filepath.Separator) {
		return exec.LookPath(program)
	}
	if found := s.onPath(program); len(found) > 0 {
		return found[0], nil
	}
	return "", exec.ErrNotFound
}

// onPath lists the programs of this name on PATH.
func (s *Store) onPath(program string) []string {
	var found []string
	for _, folder := range filepath.SplitList(s.environ["PATH"]) {
		if !filepath.IsAbs(folder) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(folder, program)); err == nil {
			found = append(found, path)
		}
	}
	return found
}
