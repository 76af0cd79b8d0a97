package executortest

import (
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/logs"
)

func testStop(t *testing.T, subject Subject) {
	t.Run("the task is asked first and may end by itself", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell(`trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 0.05; done`)
		b.start(command)
		b.awaitStarted(command.ID)
		b.awaitLine(command.ID, "up")
		b.Stop(command.ID, "the user said so")
		exit := b.awaitEnded(command.ID)
		if exit.Code != 5 || !exit.Stopped || exit.Signal != "" {
			t.Fatalf("%+v", exit)
		}
		if got := b.text(command.ID, logs.Stdout); got != "up\nasked\n" {
			t.Fatalf("log %q", got)
		}
		if got := b.text(command.ID, logs.System); !strings.Contains(got, "the user said so") {
			t.Fatalf("the reason is not in the log: %q", got)
		}
	})
	t.Run("one that does not listen is killed after the grace, with all that it started", func(t *testing.T) {
		b := setUp(t, subject)
		mark := marker()
		command := shell(`trap '' TERM; setsid sleep ` + mark + ` & (setsid sh -c 'trap "" TERM; sleep ` + mark + `; :' &) ; echo up; while :; do sleep ` + mark + `; done`)
		command.Grace = 300 * time.Millisecond
		b.start(command)
		b.awaitLine(command.ID, "up")
		before := time.Now()
		b.Stop(command.ID, "test")
		exit := b.awaitEnded(command.ID)
		if exit.Signal != "SIGKILL" || !exit.Stopped || exit.OutOfMemory || exit.Ended.Sub(before) < command.Grace {
			t.Fatalf("%+v, asked %v before", exit, exit.Ended.Sub(before))
		}
		if n := b.alive(mark); n != 0 {
			t.Fatalf("%d processes are alive after the end was told", n)
		}
	})
	t.Run("no grace, stopping twice, stopping what has ended", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell(`trap '' TERM; echo up; sleep 1000; sleep 1000`)
		command.Grace = 0
		b.start(command)
		b.awaitLine(command.ID, "up")
		b.Stop(command.ID, "one")
		b.Stop(command.ID, "two")
		if exit := b.awaitEnded(command.ID); exit.Signal != "SIGKILL" || !exit.Stopped {
			t.Fatalf("%+v", exit)
		}
		b.Stop(command.ID, "three")
		b.Stop(attempt(), "never started")
	})
	t.Run("a stop that comes with the start is not lost", func(t *testing.T) {
		b := setUp(t, subject)
		for range 20 {
			command := shell("sleep 1000")
			begun := make(chan struct{})
			go func() {
				defer close(begun)
				if err := b.Start(b.Context(), command); err != nil {
					t.Error(err)
				}
			}()
			for !b.Known(command.ID) {
				time.Sleep(time.Microsecond)
			}
			b.Stop(command.ID, "at once")
			<-begun
			if exit := b.awaitEnded(command.ID); !exit.Stopped || exit.Lost || exit.Code == 0 {
				t.Fatalf("%+v", exit)
			}
		}
	})
	t.Run("children that the task leaves behind die with it", func(t *testing.T) {
		b := setUp(t, subject)
		mark := marker()
		// In the background, in another session, and fully detached by a double fork with its output closed.
		command := shell(`sleep ` + mark + ` & setsid sleep ` + mark + ` & (setsid sh -c 'cd /; sleep ` + mark + ` & exit' < /dev/null > /dev/null 2>&1 &); sleep 0.2; echo done; exit 4`)
		exit := b.run(command)
		if exit.Code != 4 || b.text(command.ID, logs.Stdout) != "done\n" {
			t.Fatalf("%+v", exit)
		}
		if n := b.alive(mark); n != 0 {
			t.Fatalf("%d processes are alive after the end was told", n)
		}
	})
	t.Run("processes that go on forking die too", func(t *testing.T) {
		b := setUp(t, subject)
		mark := marker()
		command := shell(`(while :; do setsid sleep ` + mark + ` & sleep 0.001; done) & sleep 0.2; exit 0`)
		if exit := b.run(command); exit.Code != 0 {
			t.Fatalf("%+v", exit)
		}
		if n := b.alive(mark); n != 0 {
			t.Fatalf("%d processes are alive after the end was told", n)
		}
	})
}
