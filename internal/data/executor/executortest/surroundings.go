package executortest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"biplane.dev/biplane/internal/data/executor"
	"biplane.dev/biplane/internal/data/logs"
)

func testSurroundings(t *testing.T, subject Subject) {
	t.Run("the environment is the command's and nothing else", func(t *testing.T) {
		if err := os.Setenv("BIPLANE_SUITE_LEAK", "leaked"); err != nil { // of the plane; t.Setenv forbids t.Parallel
			t.Fatal(err)
		}
		b := setUp(t, subject)
		command := shell("")
		command.Args = []string{"env"}
		command.Env["ONE"] = "1 with blanks"
		command.Env["EMPTY"] = ""
		command.Env["UNICODE"] = "über"
		if exit := b.run(command); exit.Code != 0 {
			t.Fatalf("%+v", exit)
		}
		got := strings.Split(strings.TrimSpace(b.text(command.ID, logs.Stdout)), "\n")
		slices.Sort(got)
		want := []string{"EMPTY=", "ONE=1 with blanks", "PATH=" + path, "UNICODE=über"}
		if !slices.Equal(got, want) {
			t.Fatalf("environment %q, want %q", got, want)
		}
	})
	t.Run("standard input is empty and no other file is open", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell("cat; echo eof; exec ls /proc/self/fd")
		b.run(command)
		if got := b.text(command.ID, logs.Stdout); got != "eof\n0\n1\n2\n3\n" { // 3 is the folder that ls reads
			t.Fatalf("%q", got)
		}
	})
	t.Run("the working directory is fresh, writable and private", func(t *testing.T) {
		b := setUp(t, subject)
		script := "ls -A | wc -l | tr -d ' '; stat -c %a .; echo data > file; cat file; pwd"
		one, two := shell(script), shell(script)
		b.run(one)
		b.run(two)
		first, second := strings.Split(b.text(one.ID, logs.Stdout), "\n"), strings.Split(b.text(two.ID, logs.Stdout), "\n")
		if first[0] != "0" || first[1] != "700" || first[2] != "data" || second[0] != "0" || first[3] == second[3] {
			t.Fatalf("%q, %q", first, second)
		}
	})
	t.Run("a program of a relative PATH, from the working directory", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell("")
		command.Args = []string{"sh", "-c", "echo 'echo found' > tool; chmod +x tool; PATH=. tool"}
		b.run(command)
		if got := b.text(command.ID, logs.Stdout); got != "found\n" {
			t.Fatalf("%q", got)
		}
	})
	t.Run("secrets are files for the owner, where the environment says, and gone afterwards", func(t *testing.T) {
		b := setUp(t, subject)
		command := shell(`cat "$TOKEN"; echo; stat -c %a "$TOKEN"; cat "$DEEP"; echo; stat -c %a "${TOKEN%/*}"; echo "$TOKEN"`)
		command.Env["TOKEN"] = executor.SecretsPlaceholder + "/token"
		command.Env["DEEP"] = executor.SecretsPlaceholder + "/a/b"
		command.Files = []executor.File{{Path: "token", Content: []byte("s3cret")}, {Path: "a/b", Content: []byte("d33p")}}
		b.run(command)
		got := strings.Split(b.text(command.ID, logs.Stdout), "\n")
		if len(got) < 5 || got[0] != "s3cret" || got[1] != "400" || got[2] != "d33p" || got[3] != "700" {
			t.Fatalf("%q", got)
		}
		check := shell("test -e " + got[4] + " && echo still there || echo gone")
		b.run(check)
		if got := b.text(check.ID, logs.Stdout); got != "gone\n" {
			t.Fatalf("the secret is %q", got)
		}
	})
}
