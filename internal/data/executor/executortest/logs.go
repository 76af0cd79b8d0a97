package executortest

import (
	"fmt"
	"strings"
	"testing"

	"biplane.dev/biplane/internal/data/logs"
)

func testLogs(t *testing.T, subject Subject) {
	t.Run("100,000 lines are complete and in order, read while they are written", func(t *testing.T) {
		b := setUp(t, subject)
		const count = 100_000
		command := shell(fmt.Sprintf(`seq 1 %d`, count))
		b.start(command)
		next := 1
		for position := ""; next <= count; {
			if err := b.logs.Wait(b.Context(), command.ID, position); err != nil {
				t.Fatal(err)
			}
			lines, after, err := b.logs.Read(b.Context(), command.ID, position, 777)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				if line.Text != fmt.Sprint(next) || line.Stream != logs.Stdout || line.At.IsZero() {
					t.Fatalf("line %d is %+v", next, line)
				}
				next++
			}
			position = after
		}
		b.awaitEnded(command.ID)
		if lines := b.lines(command.ID); len(lines) != count {
			t.Fatalf("%d lines afterwards", len(lines))
		}
	})
	t.Run("lines come while the task runs", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell(`echo one; echo two >&2; sleep 1000`)
		b.start(command)
		b.awaitLine(command.ID, "one")
		b.awaitLine(command.ID, "two")
		if b.text(command.ID, logs.Stderr) != "two\n" {
			t.Fatal("standard error is not told apart")
		}
	})
	t.Run("what was printed last is there when the end is told", func(t *testing.T) {
		b := setUp(t, subject)
		for range 10 {
			command := shell(`printf 'no line feed'; kill -9 $$`)
			b.run(command)
			if got := b.text(command.ID, logs.Stdout); got != "no line feed\n" {
				t.Fatalf("%q", got)
			}
		}
	})
	t.Run("odd bytes and long lines", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell(`printf 'caf\303\251 \377 end\n\n'; head -c 1000000 /dev/zero | tr '\0' x; echo; echo last`)
		b.run(command)
		text := b.text(command.ID, logs.Stdout)
		if !strings.HasPrefix(text, "café \uFFFD end\n\n") || strings.Count(text, "x") != 1_000_000 || !strings.HasSuffix(text, "x\nlast\n") {
			t.Fatalf("%d bytes: %.40q … %q", len(text), text, text[len(text)-20:])
		}
	})
	t.Run("a log that is too long is cut, with a line that says so, and the task is not disturbed", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell(fmt.Sprintf(`yes 'a line of thirty characters ...' | head -c %d; exit 6`, 3*subject.LogBytes))
		exit := b.run(command)
		if exit.Code != 6 {
			t.Fatalf("%+v", exit)
		}
		lines := b.lines(command.ID)
		last := lines[len(lines)-1]
		if last.Stream != logs.System || !strings.Contains(last.Text, "dropped") {
			t.Fatalf("the last line is %+v", last)
		}
		var size int64
		for _, line := range lines[:len(lines)-1] {
			size += int64(len(line.Text))
			if line.Stream != logs.Stdout || line.Text != "a line of thirty characters ..." {
				t.Fatalf("%+v", line)
			}
		}
		if size > subject.LogBytes || size < subject.LogBytes/4 {
			t.Fatalf("%d bytes were kept of a limit of %d", size, subject.LogBytes)
		}
	})
}
