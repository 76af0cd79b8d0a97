package secrets_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"biplane.dev/biplane/gen/flyteidl2/secret"
	"biplane.dev/biplane/internal/data/secrets"
	"biplane.dev/biplane/internal/data/secrets/secretstest"
	"biplane.dev/biplane/internal/fault"
)

const generic = secret.SecretType_SECRET_TYPE_GENERIC

func openFile(t *testing.T, folder string) secrets.Backend {
	t.Helper()
	b, err := secrets.OpenFile(filepath.Join(folder, "secrets"), filepath.Join(folder, "key"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func orgWide(name string) secrets.ID {
	return secrets.ID{Scope: secrets.Scope{Org: "local"}, Name: name}
}

func TestFile(t *testing.T) {
	t.Parallel()
	folders := map[*testing.T]string{}
	secretstest.Run(t, func(t *testing.T) secrets.Backend {
		if folders[t] == "" {
			folders[t] = t.TempDir()
		}
		return openFile(t, folders[t])
	})
}

func TestNoValueLiesInTheFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	b := openFile(t, folder)
	const marker = "MARKER-7f3a-value"
	if err := b.Create(t.Context(), orgWide("MARKER-name"), generic, []byte(marker)); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(folder, "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Update(t.Context(), orgWide("MARKER-name"), generic, []byte(marker)); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 2 {
		t.Fatalf("the folder holds %v, %v", files, err)
	}
	for _, one := range files {
		content, err := os.ReadFile(filepath.Join(folder, one.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte("MARKER")) || bytes.Contains(content, []byte("TUFSS0VS")) { // also not in base64
			t.Errorf("%s holds the value or the name in clear", one.Name())
		}
		if info, err := one.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", one.Name(), info.Mode(), err)
		}
		if bytes.Equal(content, first) {
			t.Error("the same secrets give the same bytes: a nonce was used twice")
		}
	}
}

func TestFileThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(folder string) error
		want  string
	}{
		"key lost":      {func(f string) error { return os.Remove(filepath.Join(f, "key")) }, "put the key back"},
		"key of others": {func(f string) error { return os.WriteFile(filepath.Join(f, "key"), make([]byte, 32), 0o600) }, "another key"},
		"key too short": {func(f string) error { return os.Truncate(filepath.Join(f, "key"), 31) }, "31 bytes"},
		"key readable":  {func(f string) error { return os.Chmod(filepath.Join(f, "key"), 0o644) }, "chmod 600"},
		"one bit": {func(f string) error {
			raw, err := os.ReadFile(filepath.Join(f, "secrets"))
			if err != nil {
				return err
			}
			raw[len(raw)/2] ^= 1
			return os.WriteFile(filepath.Join(f, "secrets"), raw, 0o600)
		}, "damaged"},
		"cut off": {func(f string) error { return os.Truncate(filepath.Join(f, "secrets"), 10) }, "damaged"},
		"empty":   {func(f string) error { return os.Truncate(filepath.Join(f, "secrets"), 0) }, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			if err := openFile(t, folder).Create(t.Context(), orgWide("n"), generic, []byte("v")); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(folder); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(filepath.Join(folder, "secrets"))
			_, err := secrets.OpenFile(filepath.Join(folder, "secrets"), filepath.Join(folder, "key"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after, _ := os.ReadFile(filepath.Join(folder, "secrets")); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// A change that cannot be written has not happened.
func TestFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "state")
	b := openFile(t, folder)
	if err := b.Create(t.Context(), orgWide("n"), generic, []byte("old")); err != nil {
		t.Fatal(err)
	}
	aside := folder + ".aside"
	if err := os.Rename(folder, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	err := b.Update(t.Context(), orgWide("n"), generic, []byte("new"))
	if !fault.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("got %v", err)
	}
	if err := b.Create(t.Context(), orgWide("m"), generic, []byte("new")); !fault.Is(err, fault.KindUnavailable) {
		t.Errorf("got %v", err)
	}
	if got, err := b.Value(t.Context(), orgWide("n")); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, folder); err != nil {
		t.Fatal(err)
	}
	if err := b.Update(t.Context(), orgWide("n"), generic, []byte("new")); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	if got, err := openFile(t, folder).Value(t.Context(), orgWide("n")); err != nil || string(got) != "new" {
		t.Errorf("got %q, %v", got, err)
	}
}
