package boundary

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed program/module.py program/probe.py
var program embed.FS

// Places are what the program puts a marker into, by the four letters that end it.
var Places = []struct{ Code, What string }{
	{"code", "source code"},
	{"modn", "name of a module and of its file"},
	{"dflt", "default input"},
	{"inpt", "input"},
	{"outp", "output"},
	{"envv", "environment variable of the run"},
	{"envt", "environment variable of the task"},
	{"desc", "description of the task's environment"},
	{"ctxc", "custom context"},
	{"labl", "value of a run's label"},
	{"anno", "value of a run's annotation"},
	{"prjd", "description of the project"},
	{"plab", "value of a project's label"},
	{"sett", "environment variable in the project's settings"},
	{"secr", "secret"},
	{"stdo", "standard output"},
	{"stde", "standard error"},
	{"rept", "report"},
	{"exce", "message of an error that was caught"},
	{"dead", "message of the error that ended a run, and its traceback"},
	{"trin", "input of a trace"},
	{"trou", "output of a trace"},
	{"cprm", "prompt of a condition"},
	{"cdsc", "description of a condition"},
	{"cval", "value of a condition"},
	{"imge", "environment variable of an image"},
	{"imgf", "file in an image"},
	{"imgd", "name of a folder in an image"},
	{"cach", "input that a cache key is made of"},
	{"salt", "salt of a cache key"},
	{"rawd", "raw data"},
	{"rawn", "name of a file of raw data"},
	{"chkp", "checkpoint"},
	{"trgi", "input of a trigger"},
	{"trge", "environment variable of a trigger"},
	{"trgd", "description of a trigger"},
}

// kept are the places that no plane keeps in a form that can be searched for: a secret is encrypted, and a salt is hashed by the
// client. That they arrived is known from the program, which uses them.
var kept = map[string]bool{"secr": true, "salt": true, "imgd": true}

// Probe is one run of the program with markers.
type Probe struct {
	Content Core     `json:"content"` // the core of the markers in content
	Name    Core     `json:"name"`    // a marker in the names of the project and the runs
	Project string   `json:"project"`
	Runs    []string `json:"runs"`
}

// NewProbe makes the markers.
func NewProbe() *Probe { return &Probe{Content: NewCore(), Name: NewCore()} }

// maxAnswer bounds what is kept of what the program says.
const maxAnswer = 64 << 10

// Run runs the program with a Python that has the stock SDK, through the installation that the client's config file names. It
// makes a project, which it archives in the end, and two runs in it. What the program says goes to progress.
func (p *Probe) Run(ctx context.Context, python, config string, progress io.Writer) error {
	folder, err := os.MkdirTemp("", "boundary-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := p.write(folder); err != nil {
		return fmt.Errorf("write the program: %w", err)
	}
	var answer tail
	cmd := exec.CommandContext(ctx, python, "probe.py")
	cmd.Dir = folder
	// The marker must not get into a variable or an argument of a process other than the client's own.
	cmd.Env = append(os.Environ(), "BOUNDARY_CONFIG="+config, "BOUNDARY_CORE="+string(p.Content), "BOUNDARY_NAME="+string(p.Name),
		"FLYTECTL_CONFIG="+config, "DO_NOT_TRACK=1", "PYTHONUNBUFFERED=1", "NO_PROXY=localhost,127.0.0.1")
	cmd.Stdout = io.MultiWriter(&answer, progress)
	cmd.Stderr = io.MultiWriter(&answer, progress)
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the program with markers did not go through: %w; its last words: %s", err, answer.last())
	}
	if err := json.Unmarshal([]byte(answer.last()), p); err != nil || len(p.Runs) == 0 {
		return fmt.Errorf("the program did not say what it did: %q", answer.last())
	}
	return nil
}

func (p *Probe) write(folder string) error {
	module, err := program.ReadFile("program/module.py")
	if err != nil {
		return err
	}
	probe, err := program.ReadFile("program/probe.py")
	if err != nil {
		return err
	}
	core := string(p.Content)
	image := filepath.Join(folder, core+"imgd")
	if err := os.Mkdir(image, 0o700); err != nil {
		return err
	}
	for path, content := range map[string][]byte{
		filepath.Join(folder, core+"modn.py"): bytes.ReplaceAll(module, []byte("@CORE@"), []byte(core)),
		filepath.Join(folder, "probe.py"):     probe,
		filepath.Join(image, "content.txt"):   []byte(core + "imgf\n"),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-maxAnswer):]
	return len(b), nil
}

func (t *tail) last() string {
	lines := strings.Split(strings.TrimSpace(string(t.kept)), "\n")
	return lines[len(lines)-1]
}
