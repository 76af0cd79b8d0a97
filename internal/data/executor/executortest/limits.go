package executortest

import (
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/logs"
)

func testLimits(t *testing.T, subject Subject) {
	t.Run("more memory than the limit", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell("exec tail /dev/zero") // one endless line, which tail keeps
		command.MemoryLimit = 64 << 20
		exit := b.run(command)
		if exit.Signal != "SIGKILL" || !exit.OutOfMemory || exit.Stopped || exit.PeakMemory < command.MemoryLimit/2 {
			t.Fatalf("%+v", exit)
		}
		if got := b.text(command.ID, logs.System); !strings.Contains(got, "out of memory") {
			t.Fatalf("log %q", got)
		}
	})
	t.Run("the limit is on all processes of the attempt together", func(t *testing.T) {
		b := setUp(t, subject)
		mark := marker()
		// Each tail keeps 30 MB until its input ends: together they are too many.
		command := shell("")
		command.Args[2] = `for i in 1 2 3 4; do { head -c 30000000 /dev/zero; sleep ` + mark + `; } | tail -c 30000000 & done; wait`
		command.MemoryLimit = 64 << 20
		exit := b.run(command)
		if !exit.OutOfMemory {
			t.Fatalf("%+v", exit)
		}
		if n := b.alive(mark); n != 0 {
			t.Fatalf("%d processes are alive", n)
		}
	})
	t.Run("less memory than the limit is no offence", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell(`head -c 20000000 /dev/zero | tail -c 20000000 | wc -c; sleep 0.3`)
		command.MemoryLimit = 64 << 20
		if exit := b.run(command); exit.Code != 0 || exit.OutOfMemory {
			t.Fatalf("%+v", exit)
		}
	})
	t.Run("use is measured", func(t *testing.T) {
		b := setUp(t, subject)
		exit := b.run(shell(`i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done`))
		if exit.CPU <= 0 || exit.CPU > 10*exit.Ended.Sub(exit.Started)+time.Second || exit.PeakMemory < 100<<10 {
			t.Fatalf("%+v", exit)
		}
	})
}
