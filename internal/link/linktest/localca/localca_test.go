package localca_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/linktest/localca"
)

// snapshot is the content of every file below the folder.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		files[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func makeAll(t *testing.T, root, plane string, hosts ...string) {
	t.Helper()
	ca, err := localca.Open(filepath.Join(root, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Server(filepath.Join(root, "server"), hosts...); err != nil {
		t.Fatal(err)
	}
	if err := ca.Plane(filepath.Join(root, "plane"), link.Plane{Org: "local", Name: plane}); err != nil {
		t.Fatal(err)
	}
}

func certificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		t.Fatalf("%s is not PEM", path)
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestFilesAreMadeOnceAndOnlyTheOwnerReadsKeys(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	makeAll(t, root, "here", "127.0.0.1", "localhost")
	first := snapshot(t, root)
	if len(first) != 8 {
		t.Errorf("%d files", len(first))
	}
	for path := range first {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(path) == ".key" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	makeAll(t, root, "here", "127.0.0.1", "localhost")
	for path, content := range snapshot(t, root) {
		if first[path] != content {
			t.Errorf("%s was made again", path)
		}
	}
}

func TestFilesThatDoNotServeAreMadeAgain(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	makeAll(t, root, "here", "127.0.0.1")
	server, plane := filepath.Join(root, "server", link.CertFile), filepath.Join(root, "plane", link.CertFile)
	if err := os.WriteFile(filepath.Join(root, "server", link.KeyFile), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	makeAll(t, root, "there", "127.0.0.1")
	if got := certificate(t, plane).URIs[0].String(); got != "spiffe://biplane/org/local/plane/there" {
		t.Errorf("the plane is %s", got)
	}
	if _, err := tls.LoadX509KeyPair(server, filepath.Join(root, "server", link.KeyFile)); err != nil {
		t.Errorf("after a torn key: %v", err)
	}
	// Another authority: everything is signed anew.
	if err := os.RemoveAll(filepath.Join(root, "ca")); err != nil {
		t.Fatal(err)
	}
	makeAll(t, root, "there", "127.0.0.1")
	authority := certificate(t, filepath.Join(root, "ca", link.CAFile))
	for _, path := range []string{server, plane} {
		if err := certificate(t, path).CheckSignatureFrom(authority); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
