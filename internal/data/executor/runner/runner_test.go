package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const beRunner = "BIPLANE_TEST_RUNNER"

func init() {
	if os.Getenv(beRunner) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(beRunner) != "" {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

// folderFor is an attempt's folder as a plane makes it.
func folderFor(t *testing.T) (string, Spec) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{LockFile, "plane.lock"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, Spec{
		Args: []string{"/bin/sh", "-c", "echo ran >> ../ran"}, Env: []string{"PATH=/usr/bin:/bin"}, Grace: time.Second,
		Log: filepath.Join(dir, "log"), PlaneLock: filepath.Join(dir, "plane.lock"), OrphanGrace: time.Minute,
	}
}

// start starts a runner and returns what waits for its exit code.
func start(t *testing.T, dir string, input []byte) (wait func() int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout = dir, []string{beRunner + "=1"}, bytes.NewReader(input), new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() int {
		_ = cmd.Wait() // an exit code is an error to it
		return cmd.ProcessState.ExitCode()
	}
}

func encode(t *testing.T, spec Spec) []byte {
	t.Helper()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func ran(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "ran"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return bytes.Count(data, []byte("\n"))
}

func TestASpecThatIsCutShortStartsNothing(t *testing.T) {
	t.Parallel()
	dir, spec := folderFor(t)
	whole := encode(t, spec)
	for _, length := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
		if code := start(t, dir, whole[:length])(); code != CodeFault {
			t.Fatalf("%d bytes: exit code %d", length, code)
		}
	}
	if _, err := ReadRecord(dir); !errors.Is(err, fs.ErrNotExist) || ran(t, dir) != 0 {
		t.Fatalf("record: %v, ran %d times", err, ran(t, dir))
	}
	if code := start(t, dir, whole)(); code != CodeDone || ran(t, dir) != 1 {
		t.Fatalf("the whole spec: exit code %d, ran %d times", code, ran(t, dir))
	}
}

func TestOfManyRunnersOneGoesOn(t *testing.T) {
	t.Parallel()
	dir, spec := folderFor(t)
	var waits []func() int
	for range 8 {
		waits = append(waits, start(t, dir, encode(t, spec)))
	}
	codes := map[int]int{}
	for _, wait := range waits {
		codes[wait()]++
	}
	if codes[CodeDone] != 1 || codes[CodeTaken] != 7 || ran(t, dir) != 1 {
		t.Fatalf("exit codes %v, ran %d times", codes, ran(t, dir))
	}
}

func TestARunnerThatComesLateStartsNothing(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(dir string) error{
		"declared over": func(dir string) error { return WriteRecord(dir, Record{Code: -1, Lost: true}) },
		"started once":  func(dir string) error { return writeJSON(dir, TaskFile, Task{PID: 1}) },
		"being removed": func(dir string) error { return os.Remove(filepath.Join(dir, LockFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, spec := folderFor(t)
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			if code := start(t, dir, encode(t, spec))(); code == CodeDone || ran(t, dir) != 0 {
				t.Fatalf("exit code %d, ran %d times", code, ran(t, dir))
			}
		})
	}
}

func TestLinked(t *testing.T) {
	t.Parallel()
	dir, _ := folderFor(t)
	lock, err := Hold(filepath.Join(dir, LockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if !lock.Linked() {
		t.Fatal("a named file is not linked")
	}
	if err := os.Remove(filepath.Join(dir, LockFile)); err != nil {
		t.Fatal(err)
	}
	if lock.Linked() {
		t.Fatal("a removed file is linked")
	}
}

func TestNothingSecretOutsideOfItsFile(t *testing.T) {
	t.Parallel()
	const secret = "m4rk3r-s3cr3t"
	dir, spec := folderFor(t)
	spec.Env = append(spec.Env, "TOKEN="+secret)
	spec.Files = []File{{Path: "token", Content: []byte(secret)}}
	spec.Args = []string{"/bin/sh", "-c", "tr '\\0' ' ' < /proc/$PPID/cmdline; tr '\\0' ' ' < /proc/$PPID/environ; grep -rl " + "m4rk3r-'s3cr3t' .."}
	if code := start(t, dir, encode(t, spec))(); code != CodeDone {
		t.Fatalf("exit code %d", code)
	}
	log, err := os.ReadFile(spec.Log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "../secrets/token") || strings.Count(string(log), "../") != 1 || strings.Contains(string(log), secret) {
		t.Fatalf("arguments, environment and files with the secret: %s", log)
	}
	left := bytes.NewBuffer(nil)
	grep := exec.Command("grep", "-rl", secret, dir)
	grep.Stdout = left
	_ = grep.Run() // 1 when it finds nothing
	if left.Len() > 0 {
		t.Fatalf("the secret stays in %s", left)
	}
}

func TestInheritedFilesAreClosed(t *testing.T) {
	t.Parallel()
	dir, spec := folderFor(t)
	spec.Args = []string{"/bin/ls", "/dev/fd/"}
	stray, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Dir, cmd.Env, cmd.Stdin = dir, []string{beRunner + "=1"}, bytes.NewReader(encode(t, spec))
	cmd.ExtraFiles = []*os.File{stray, stray}
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	log, err := os.ReadFile(spec.Log)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(log), "\n"); lines != 4 { // three and the folder that ls reads
		t.Fatalf("open in the task: %s", log)
	}
}

func TestRecordsAreReadAsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := reserve(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("what is only reserved is read: %v", err)
	}
	want := Record{Code: -1, Signal: "SIGKILL", StartError: strings.Repeat("é", 10<<10), Ended: time.Unix(1, 2).UTC()}
	if err := WriteRecord(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(dir)
	if err != nil || got.Signal != want.Signal || !got.Ended.Equal(want.Ended) || len(got.StartError) > maxErrorText+4 {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestLookUp(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for path, mode := range map[string]os.FileMode{"bin/tool": 0o755, "bin/text": 0o644, "work/rel/near": 0o755, "bin/folder/x": 0o755} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=/nowhere:" + dir + "/bin:rel"}
	for program, want := range map[string]string{"tool": dir + "/bin/tool", "near": "./rel/near", "./any": "./any", "/abs": "/abs"} {
		if got, err := lookUp(program, env); err != nil || got != want {
			t.Errorf("%s: %q, %v", program, got, err)
		}
	}
	for program, want := range map[string]string{"text": "not executable", "folder": "no program", "none": "no program", "": "empty"} {
		if got, err := lookUp(program, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", program, got, err)
		}
	}
	if _, err := lookUp("tool", nil); err == nil {
		t.Error("found without PATH")
	}
}

func TestNiceness(t *testing.T) {
	t.Parallel()
	for millis, want := range map[int64]int{0: 2, 1000: 2, 1500: 0, 64_000: 0, 500: 5, 100: 12, 1: 19} {
		if got := niceness(millis); got != want {
			t.Errorf("%d: %d, want %d", millis, got, want)
		}
	}
}
