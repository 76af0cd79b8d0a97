package boundary

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Files looks through a file, or through every regular file of a folder, and through the names of them. It returns how many bytes
// it has seen. A file that goes away meanwhile is passed over.
func (s *Searcher) Files(root string) (bytes int64, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != root {
			return nil
		}
		if err != nil {
			return err
		}
		name := []byte(entry.Name())
		s.look(path, "the name of the file, ", name, 0, len(name))
		if !entry.Type().IsRegular() {
			return nil
		}
		seen, err := s.file(path)
		bytes += seen
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return bytes, err
}

func (s *Searcher) file(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), s.Search(path, file, 0, info.Size())
}
