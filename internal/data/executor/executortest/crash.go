package executortest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/names"
)

func testCrash(t *testing.T, subject Subject) {
	t.Run("an attempt runs on without its plane, and the next life adopts it", func(t *testing.T) {
		t.Parallel()
		dir, command := t.TempDir(), shell("")
		gate := t.TempDir() + "/gate"
		command.Args[2] = `echo begun; while ! test -e ` + gate + `; do sleep 0.02; done; echo going on; exit 9`
		p := startPlane(t, dir)
		p.start(command)
		p.awaitStarted(command.ID)
		p.kill()
		b := open(t, subject, dir)
		if !b.Known(command.ID) || b.Known(attempt()) {
			t.Fatal("the new life does not know what the old one started")
		}
		b.Adopt(command.ID)
		b.awaitStarted(command.ID)
		b.run(shell("touch " + gate))
		if exit := b.awaitEnded(command.ID); exit.Code != 9 || exit.Lost || exit.Started.IsZero() {
			t.Fatalf("%+v", exit)
		}
		if got := b.text(command.ID, logs.Stdout); got != "begun\ngoing on\n" {
			t.Fatalf("log %q", got)
		}
	})
	t.Run("one that ends while there is no plane is told by the next life", func(t *testing.T) {
		t.Parallel()
		dir, command, mark := t.TempDir(), shell(""), marker()
		gate := t.TempDir() + "/gate"
		command.Args[2] = `while ! test -e ` + gate + `; do sleep 0.02; done; exit 9 # ` + mark
		p := startPlane(t, dir)
		p.start(command)
		p.awaitStarted(command.ID)
		p.kill()
		other := open(t, subject, t.TempDir())
		other.run(shell("touch " + gate))
		other.awaitDead(mark)
		b := open(t, subject, dir)
		b.Adopt(command.ID)
		if exit := b.awaitEnded(command.ID); exit.Code != 9 || exit.Lost {
			t.Fatalf("%+v", exit)
		}
		b.Adopt(command.ID)
		b.awaitEndedTimes(command.ID, 2)
	})
	t.Run("starting again what an earlier life started takes it over", func(t *testing.T) {
		t.Parallel()
		dir, command := t.TempDir(), shell(`echo begun; sleep 0.5; exit 9`)
		p := startPlane(t, dir)
		p.start(command)
		p.awaitStarted(command.ID)
		p.kill()
		b := open(t, subject, dir)
		if exit := b.run(command); exit.Code != 9 {
			t.Fatalf("%+v", exit)
		}
		if got := b.text(command.ID, logs.Stdout); got != "begun\n" {
			t.Fatalf("it ran twice: %q", got)
		}
	})
	t.Run("an adopted attempt can be stopped", func(t *testing.T) {
		t.Parallel()
		dir, command := t.TempDir(), shell(`trap 'exit 8' TERM; echo up; while :; do sleep 0.02; done`)
		p := startPlane(t, dir)
		p.start(command)
		p.awaitStarted(command.ID)
		p.kill()
		b := open(t, subject, dir)
		b.awaitLine(command.ID, "up")
		b.Stop(command.ID, "without adopting it first")
		if exit := b.awaitEnded(command.ID); exit.Code != 8 || !exit.Stopped {
			t.Fatalf("%+v", exit)
		}
	})
	t.Run("killed at any moment of starting, nothing runs twice and nothing is lost", func(t *testing.T) {
		t.Parallel()
		const rounds, many = 12, 8
		dir, mark := t.TempDir(), marker()
		for round := range rounds {
			commands := make([]executor.Command, many)
			p := startPlane(t, dir)
			for i := range commands {
				commands[i] = shell(fmt.Sprintf(`echo run %s; sleep 0.3; exit 2`, mark))
				p.start(commands[i])
			}
			time.Sleep(time.Duration(round) * 1500 * time.Microsecond) // where in the start is chance: no wrong moment exists
			p.kill()
			b := open(t, subject, dir)
			for _, command := range commands {
				b.start(command)
			}
			for _, command := range commands {
				if exit := b.awaitEnded(command.ID); exit.Code != 2 || exit.Lost {
					t.Fatalf("round %d: %+v", round, exit)
				}
				if got := b.text(command.ID, logs.Stdout); got != "run "+mark+"\n" {
					t.Fatalf("round %d: %q", round, got)
				}
				b.Forget(command.ID)
			}
			if err := b.Close(t.Context(), true); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("what the journal does not know is swept away", func(t *testing.T) {
		t.Parallel()
		dir, mark, kept := t.TempDir(), marker(), marker()
		orphan, over, keep := shell(`trap '' TERM; sleep `+mark+`; sleep `+mark), shell("exit 1"), shell(`sleep `+kept)
		orphan.Grace = 100 * time.Millisecond
		p := startPlane(t, dir)
		for _, command := range []executor.Command{orphan, over, keep} {
			p.start(command)
			p.awaitStarted(command.ID)
		}
		p.kill()
		b := open(t, subject, dir)
		fresh := shell("sleep 1000")
		b.start(fresh)
		if err := b.Sweep(t.Context(), func(id names.Attempt) bool { return id == keep.ID }); err != nil {
			t.Fatal(err)
		}
		if n := b.alive(mark); n != 0 {
			t.Fatalf("%d processes of an orphan are alive", n)
		}
		if b.Known(orphan.ID) || b.Known(over.ID) || !b.Known(keep.ID) || !b.Known(fresh.ID) || b.alive(kept) == 0 {
			t.Fatal("the sweep took too little or too much")
		}
		if got := b.text(orphan.ID, logs.System); !strings.Contains(got, "does not know") {
			t.Fatalf("the orphan's log says %q", got)
		}
		b.Adopt(keep.ID)
		b.awaitStarted(keep.ID)
	})
	t.Run("closing leaves attempts alive or none, as asked", func(t *testing.T) {
		t.Parallel()
		dir, mark := t.TempDir(), marker()
		command := shell("sleep " + mark)
		b := open(t, subject, dir)
		b.start(command)
		b.awaitStarted(command.ID)
		if err := b.Close(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if b.alive(mark) == 0 {
			t.Fatal("it did not survive the plane")
		}
		if err := b.Start(t.Context(), shell("true")); err == nil {
			t.Fatal("a closed executor starts")
		}
		b = open(t, subject, dir)
		b.Adopt(command.ID)
		b.awaitStarted(command.ID)
		if err := b.Close(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if n := b.alive(mark); n != 0 {
			t.Fatalf("%d processes are alive", n)
		}
	})
}
