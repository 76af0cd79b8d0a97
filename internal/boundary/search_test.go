package boundary_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"

	"biplane.dev/biplane/internal/boundary"
)

func search(t *testing.T, core boundary.Core, data []byte) (hits []boundary.Hit) {
	t.Helper()
	s := boundary.NewSearcher(core, func(h boundary.Hit) { hits = append(hits, h) })
	if err := s.Search("data", bytes.NewReader(data), 0, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	return hits
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

func zlibbed(data []byte, level int) []byte {
	var b bytes.Buffer
	z, _ := zlib.NewWriterLevel(&b, level)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

func zstded(data []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll(data, nil)
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

func utf16be(s string) []byte {
	b := utf16le(s)
	for i := 0; i < len(b); i += 2 {
		b[i], b[i+1] = b[i+1], b[i]
	}
	return b
}

// Every form is found, with the place, wherever it begins.
func TestForms(t *testing.T) {
	t.Parallel()
	core := boundary.NewCore()
	marker, err := core.At("argv")
	if err != nil {
		t.Fatal(err)
	}
	text := "before " + marker + " behind it, a while"
	forms := map[string][]byte{
		"plain":               []byte(text),
		"UTF-16":              utf16le(text),
		"hex":                 []byte(hex.EncodeToString([]byte(text))),
		"gzip > plain":        gzipped([]byte(text)),
		"zlib > plain":        zlibbed([]byte(text), 6),
		"zstd > plain":        zstded([]byte(text)),
		"zstd > gzip > plain": zstded(gzipped([]byte(text))),
		"gzip > base64":       gzipped([]byte(base64.StdEncoding.EncodeToString([]byte(text)))),
		"gzip > gzip > plain": gzipped(append(noise(9<<20), gzipped([]byte(text))...)),
		"upper case":          []byte(strings.ToUpper(text)),
		"gzip > UTF-16":       gzipped(utf16be(text)),
		"zlib > zlib > plain": zlibbed(zlibbed([]byte(text), 1), 9),
		"zstd > base64":       zstded([]byte(base64.RawURLEncoding.EncodeToString([]byte(text)))),
		"gzip > hex":          gzipped([]byte(strings.ToUpper(hex.EncodeToString([]byte(text))))),
	}
	for shift := range 3 {
		forms["base64"+"   "[:shift]] = []byte(base64.StdEncoding.EncodeToString([]byte("xyz"[:shift] + text)))
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, lead := range []int{0, 1, 13, 4<<20 - 9, 4 << 20} { // across two chunks, too
				data := append(noise(lead), form...)
				data = append(data, noise(77)...)
				hits := search(t, core, data)
				if !slices.ContainsFunc(hits, func(h boundary.Hit) bool { return h.Form == strings.TrimSpace(name) }) {
					t.Fatalf("not found after %d bytes: %+v", lead, hits)
				}
				for _, hit := range hits {
					if !strings.EqualFold(hit.Place, "argv") {
						t.Errorf("after %d bytes: the place was read as %q: %+v", lead, hit.Place, hit)
					}
				}
			}
		})
	}
}

func noise(n int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	data := make([]byte, n)
	_, _ = source.Read(data)
	return data
}

func TestNothing(t *testing.T) {
	t.Parallel()
	data := append(noise(5<<20), []byte(boundary.NewCore())...)
	if hits := search(t, boundary.NewCore(), data); len(hits) != 0 {
		t.Fatal(hits)
	}
}

func TestFilesAndTheirNames(t *testing.T) {
	t.Parallel()
	core := boundary.NewCore()
	inName, _ := core.At("name")
	inside, _ := core.At("file")
	folder := t.TempDir()
	for path, content := range map[string]string{"a/b": "nothing", "a/" + inName + ".txt": "nothing", "c": "x " + inside + " x"} {
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var places []string
	s := boundary.NewSearcher(core, func(h boundary.Hit) { places = append(places, h.Place) })
	n, err := s.Files(folder)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if strings.Join(places, " ") != "name file" {
		t.Fatal(places)
	}
	if _, err := s.Files(filepath.Join(folder, "missing")); err == nil {
		t.Fatal("a folder that is not there was searched without an error")
	}
}
