package executortest

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/logs"
)

func testEnds(t *testing.T, subject Subject) {
	t.Run("the exit code is told, with times and use", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell("exit 7")
		exit := b.run(command)
		if exit.Code != 7 || exit.Signal != "" || exit.StartError != "" || exit.Stopped || exit.Lost || exit.OutOfMemory {
			t.Fatalf("%+v", exit)
		}
		if exit.Started.IsZero() || exit.Ended.Before(exit.Started) || exit.PeakMemory <= 0 {
			t.Fatalf("%+v", exit)
		}
		if b.events.started[command.ID] != 1 {
			t.Fatalf("started %d times", b.events.started[command.ID])
		}
	})
	t.Run("a signal is told by its name", func(t *testing.T) {
		b := setUp(t, subject)
		for signal, name := range map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGSEGV: "SIGSEGV", syscall.SIGTERM: "SIGTERM"} {
			exit := b.run(shell(fmt.Sprintf("kill -%d $$; sleep 100", int(signal))))
			if exit.Code != -1 || exit.Signal != name || exit.OutOfMemory || exit.Stopped {
				t.Fatalf("%s: %+v", name, exit)
			}
		}
	})
	t.Run("a program that does not exist", func(t *testing.T) {
		b := setUp(t, subject)
		for _, program := range []string{"no-such-program", "/no/such/program", "./no-such-program"} {
			command := shell("")
			command.Args = []string{program, "x"}
			exit := b.run(command)
			if exit.Code != -1 || !exit.BadCommand || !strings.Contains(exit.StartError, "no-such-program") && !strings.Contains(exit.StartError, program) {
				t.Fatalf("%s: %+v", program, exit)
			}
			if got := b.text(command.ID, logs.System); !strings.Contains(got, program) {
				t.Fatalf("the log says %q", got)
			}
			if b.events.started[command.ID] != 0 {
				t.Fatal("told as started")
			}
		}
	})
	t.Run("a program without permission, arguments too long", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell("")
		command.Args = []string{"/dev/null"}
		if exit := b.run(command); !exit.BadCommand || !strings.Contains(exit.StartError, "permission") {
			t.Fatalf("%+v", exit)
		}
		command = shell("")
		command.Args = append(command.Args, strings.Repeat("x", 16<<20))
		if exit := b.run(command); !exit.BadCommand || !strings.Contains(exit.StartError, "larger than the system allows") {
			t.Fatalf("%+v", exit)
		}
	})
	t.Run("starting again while it runs and after it has ended runs it once", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell("echo once; read never < /dev/null; while ! test -e go; do sleep 0.02; done & sleep 0.3; touch go; wait; exit 3")
		for range 3 {
			b.start(command)
		}
		b.awaitEnded(command.ID)
		b.start(command)
		exit := b.awaitEndedTimes(command.ID, 2)
		if exit.Code != 3 || b.text(command.ID, logs.Stdout) != "once\n" {
			t.Fatalf("%+v, log %q", exit, b.text(command.ID, logs.Stdout))
		}
	})
	t.Run("forgotten is not known, and its name is free", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell("exit 1")
		if b.Known(command.ID) {
			t.Fatal("known before the start")
		}
		b.run(command)
		if !b.Known(command.ID) {
			t.Fatal("not known after the end")
		}
		b.Forget(command.ID)
		if b.Known(command.ID) {
			t.Fatal("known after Forget")
		}
		b.start(command)
		b.awaitEndedTimes(command.ID, 2)
		if got := len(b.lines(command.ID)); got != 0 {
			t.Fatalf("%d lines", got)
		}
	})
	t.Run("one that runs is not forgotten", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell("echo up; sleep 1000")
		b.start(command)
		b.awaitLine(command.ID, "up")
		b.Forget(command.ID)
		if !b.Known(command.ID) {
			t.Fatal("forgotten while it runs")
		}
	})
	t.Run("adopting what nobody started says that it is lost", func(t *testing.T) {
		b := setUp(t, subject)
		id := attempt()
		b.Adopt(id)
		if exit := b.awaitEnded(id); !exit.Lost {
			t.Fatalf("%+v", exit)
		}
	})
	t.Run("names and paths that lead elsewhere are refused", func(t *testing.T) {
		b := setUp(t, subject)
		for _, bad := range []string{"", "..", "../x", "a/b", "a\x00b", ".hidden", "/"} {
			command := shell("true")
			command.ID.Action.Action = bad
			if err := b.Start(t.Context(), command); err == nil {
				t.Fatalf("action %q was accepted", bad)
			}
			command = shell("true")
			command.Files = []executor.File{{Path: bad + "/../../../x"}}
			if err := b.Start(t.Context(), command); err == nil {
				t.Fatalf("secret path %q was accepted", bad)
			}
		}
		command := shell("true")
		command.Args = nil
		if err := b.Start(t.Context(), command); err == nil {
			t.Fatal("no arguments were accepted")
		}
	})
	t.Run("fifty at once", func(t *testing.T) {
		b := setUp(t, subject)
		commands := make([]executor.Command, 50)
		for i := range commands {
			commands[i] = shell(fmt.Sprintf("echo %d; exit %d", i, i))
			b.start(commands[i])
		}
		for i, command := range commands {
			if exit := b.awaitEnded(command.ID); exit.Code != i || b.text(command.ID, logs.Stdout) != fmt.Sprintf("%d\n", i) {
				t.Fatalf("%d: %+v", i, exit)
			}
		}
	})
}
