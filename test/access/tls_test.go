package access_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/link"
)

func tlsOf(t *testing.T, folder string) *tls.Config {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(folder, link.CertFile), filepath.Join(folder, link.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
}

// sdk runs a script with the stock SDK: its output, and whether it succeeded.
func sdk(t *testing.T, folder string, variables []string, args ...string) (string, error) {
	t.Helper()
	python := os.Getenv("BIPLANE_PYTHON")
	if python == "" {
		python = filepath.Join("..", "..", ".venv", "bin", "python")
	}
	python, err := filepath.Abs(python)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("%v; run make venv, or set BIPLANE_PYTHON to a Python with the flyte package", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if args[0] == "flyte" {
		args[0] = filepath.Join(filepath.Dir(python), "flyte")
	}
	command := exec.CommandContext(ctx, python, args...)
	command.Dir = folder
	command.Env = append([]string{
		"PATH=" + filepath.Dir(python) + ":/usr/bin:/bin", "HOME=" + folder, "DO_NOT_TRACK=1", "LANG=C.UTF-8", "FLYTE_UPLOAD_TIMEOUT=20",
	}, variables...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	return out.String(), err
}

// project is a folder with the programs of testdata and a client's configuration.
func project(t *testing.T, config string, lines ...any) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(fmt.Sprintf(config, lines...)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

const withCA = `
admin:
  endpoint: dns:///%s
  caCertFilePath: %s
  clientId: key
  clientSecretLocation: secret
  authType: ClientSecret
task:
  project: p
  domain: d
`

// What docs/clients.md says about private certificate authorities: the SDK has two HTTP clients. RPCs go by the configuration's
// caCertFilePath; tokens, uploads and downloads go by the environment's SSL_CERT_FILE.
func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	front := newFront(t)
	folder := project(t, withCA, front.endpoint, front.ca)

	out, err := sdk(t, folder, []string{"SSL_CERT_FILE=" + front.ca}, "flyte", "--config", "config.yaml", "run", "small.py", "main", "--x", "1")
	if err != nil || !strings.Contains(out, "r1") {
		t.Fatalf("flyte run: %v\n%s", err, out)
	}
	front.runs.mu.Lock()
	defer front.runs.mu.Unlock()
	if front.runs.made != 1 {
		t.Errorf("%d runs were made", front.runs.made)
	}
	if out, err := sdk(t, folder, []string{"SSL_CERT_FILE=" + front.ca}, "transfer.py"); err != nil {
		t.Errorf("upload and download: %v\n%s", err, out)
	}
}

// Each of the two alone is not enough, or is: this is what the page tells people, so it must stay true.
func TestPrivateAuthorityHalfConfigured(t *testing.T) {
	t.Parallel()
	t.Run("caCertFilePath alone does not reach the token endpoint", func(t *testing.T) {
		t.Parallel()
		front := newFront(t)
		folder := project(t, withCA, front.endpoint, front.ca)
		out, err := sdk(t, folder, nil, "transfer.py")
		if err == nil || !strings.Contains(out, "no token") || front.asked.Load() > 0 {
			t.Errorf("got %v, %d tokens were asked for\n%s", err, front.asked.Load(), out)
		}
	})
	t.Run("SSL_CERT_FILE alone is enough", func(t *testing.T) {
		t.Parallel()
		front := newFront(t)
		folder := project(t, strings.Replace(withCA, "  caCertFilePath: %s\n", "", 1), front.endpoint)
		if out, err := sdk(t, folder, []string{"SSL_CERT_FILE=" + front.ca}, "transfer.py"); err != nil {
			t.Errorf("got %v\n%s", err, out)
		}
	})
}
