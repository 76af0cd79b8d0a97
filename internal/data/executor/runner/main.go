package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
)

// folder is the attempt's: the runner is started in it.
const folder = "."

// Main runs the attempt in the working directory, as the spec on standard input says, and returns the runner's exit code. It
// must be called on the main goroutine, locked to the main thread: the kernel ends the task when the thread that started it is
// gone.
func Main() int {
	// From here on a request to stop is never lost and never ends the runner itself.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	// A plane that is gone must not end its runner by a broken pipe. Ignoring the signal would be inherited by the task.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	closeInherited()
	// The spec comes first and the lock second: a spec that is cut short (the plane died while writing) has no effect at all, and of
	// two runners of one attempt, started by two lives of a plane, only one goes on.
	var spec Spec
	if err := readSpec(os.Stdin, &spec); err != nil {
		return fail(err)
	}
	lock, err := Hold(LockFile)
	if errors.Is(err, ErrHeld) {
		return CodeTaken
	}
	if err != nil {
		return fail(err)
	}
	defer lock.Release()
	if over, err := begunBefore(folder); err != nil {
		return fail(err)
	} else if over || !lock.Linked() {
		return CodeTaken
	}
	record := newAttempt(spec, report).run(signals)
	err = WriteRecord(folder, record)
	report(Report{Exit: &record})
	if err != nil {
		return fail(err) // the report has told a living plane; a later one finds the attempt lost
	}
	return CodeDone
}

func readSpec(from io.ReadCloser, spec *Spec) error {
	if err := json.NewDecoder(from).Decode(spec); err != nil {
		return errors.New("the spec on standard input is not whole") // the cause could quote a secret
	}
	if len(spec.Args) == 0 || spec.Log == "" || spec.PlaneLock == "" {
		return errors.New("the spec lacks args, log or planeLock")
	}
	return from.Close()
}

// begunBefore says whether a task was started in folder, or has been declared over.
func begunBefore(folder string) (bool, error) {
	for _, name := range []string{TaskFile, ExitFile} {
		switch _, err := os.Lstat(folder + "/" + name); {
		case err == nil:
			return true, nil
		case !errors.Is(err, fs.ErrNotExist):
			return false, err
		}
	}
	return false, nil
}

// report tells the plane that started this runner, if it is still there.
func report(r Report) { _ = json.NewEncoder(os.Stdout).Encode(r) }

// fail writes to OutputFile, which the plane reads when a runner ends badly.
func fail(err error) int {
	fmt.Fprintln(os.Stderr, "biplane-runner:", err)
	return CodeFault
}
