package images_test

import (
	"testing"

	"biplane.dev/biplane/internal/data/images"
)

// BenchmarkResolve is what every start of an attempt pays.
func BenchmarkResolve(b *testing.B) {
	store, err := images.Open(images.Config{State: b.TempDir(), Cache: b.TempDir(), UV: newFakeUV(b).program})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := store.Base(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := store.Base(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
