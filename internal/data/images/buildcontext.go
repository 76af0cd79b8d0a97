package images

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"biplane.dev/biplane/internal/fault"
)

// Limits of a build context.
const (
	contextLimit  = 512 << 20 // bytes of the archive
	unpackedLimit = 4 << 30   // bytes of its files
	entriesLimit  = 200_000   // files and folders
)

// contextField is the input of the build task that carries the archive.
const contextField = "context"

// files are the unpacked files that came with a spec; empty when none did.
type files struct{ folder string }

// path is where a file or folder of the context lies. relative comes from the spec.
func (f files) path(field, relative string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(relative)) {
		return "", fault.Invalid(field, "%q leads out of the build context", relative)
	}
	if f.folder == "" {
		return "", fault.Invalid(field, "%q is named, but no build context was sent", relative)
	}
	where := filepath.Join(f.folder, filepath.FromSlash(relative))
	if _, err := os.Stat(where); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", fault.Invalid(field, "%q is not in the build context", relative)
		}
		return "", err
	}
	return where, nil
}

// receive copies an archive of a client into a file of ours.
func receive(to string, archive io.Reader) error {
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(file, io.LimitReader(archive, contextLimit+1))
	if err == nil && n > contextLimit {
		err = fieldFault(fault.KindTooLarge, contextField, "the build context is larger than 512 MiB: leave files out with a .dockerignore")
	}
	return errors.Join(err, file.Sync(), file.Close())
}

// unpack extracts an archive (tar, gzip) into folder, which it makes. Nothing can land outside of it, and links and
// devices are refused: the SDK sends plain files and folders only.
func unpack(folder, archive string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	inflated, err := gzip.NewReader(file)
	if err != nil {
		return damaged(err)
	}
	left, entries := int64(unpackedLimit), 0
	for reader := tar.NewReader(inflated); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			// The padding of tar, and behind it the checksum of gzip.
			if _, err := io.CopyN(io.Discard, inflated, 1<<20); !errors.Is(err, io.EOF) {
				return damaged(err)
			}
			return nil
		}
		if err != nil {
			return damaged(err)
		}
		if entries++; entries > entriesLimit {
			return fault.Invalid(contextField, "the build context holds more than %d files: leave some out with a .dockerignore", entriesLimit)
		}
		name := path.Clean(header.Name)
		if !filepath.IsLocal(name) {
			return fault.Invalid(contextField, "the entry %q leads out of the build context", header.Name)
		}
		switch header.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(name, 0o755); err != nil {
				return err
			}
		case tar.TypeReg:
			if left -= header.Size; left < 0 {
				return fault.Invalid(contextField, "the build context unpacks to more than 4 GiB: leave files out with a .dockerignore")
			}
			if err := unpackFile(root, name, header.FileInfo().Mode(), reader); err != nil {
				return err
			}
		default:
			return fault.Invalid(contextField, "the entry %q is neither a file nor a folder", header.Name)
		}
	}
}

func unpackFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode(mode))
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) {
		err = damaged(err)
	}
	return errors.Join(err, file.Close())
}

func damaged(err error) error {
	f := fault.Invalid(contextField, "the build context is not a whole tar.gz archive: run again to upload it anew")
	f.Cause = err
	return f
}
