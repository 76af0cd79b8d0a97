package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// One runner is started for every attempt: what it links, every attempt loads.
func TestTheRunnerStaysSmall(t *testing.T) {
	t.Parallel()
	output, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{
		"biplane.dev/biplane/cmd/biplane-runner", "biplane.dev/biplane/internal/data/executor/runner", "biplane.dev/biplane/internal/data/logs",
		"biplane.dev/biplane/internal/names", "biplane.dev/biplane/internal/fault", "golang.org/x/sys/unix",
	}
	heavy := []string{"net", "net/http", "crypto/tls", "log/slog", "os/exec", "os/user", "regexp", "text/template"}
	for pkg := range strings.FieldsSeq(string(output)) {
		if strings.Contains(pkg, ".") && !slices.Contains(allowed, pkg) || slices.Contains(heavy, pkg) {
			t.Errorf("the runner links %s", pkg)
		}
	}
}
