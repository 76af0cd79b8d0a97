package objects

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secretBytes is the length of a key that LoadKey makes.
const secretBytes = 32

// LoadKey reads the key in the file at path, and makes file and key when there is none. The file is for its owner alone; one that
// others may read is refused. Of several processes that make it at once, all get the same key.
func LoadKey(path string) ([]byte, error) {
	content, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	key := make([]byte, secretBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // created with mode 0600
	if err != nil {
		return nil, fmt.Errorf("make the key file %s: %w", path, err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.WriteString(hex.EncodeToString(key) + "\n")
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return nil, fmt.Errorf("write the key file %s: %w", path, err)
	}
	if err := os.Link(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the key file %s: %w", path, err)
	}
	return readKey(path)
}

func readKey(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	if stat.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key file %s can be read by others (mode %v): if nobody has read it, run \"chmod 600 %s\", otherwise remove it", path, stat.Mode().Perm(), path)
	}
	var content [2*secretBytes + 2]byte
	n, _ := file.Read(content[:])
	key, err := hex.DecodeString(strings.TrimSuffix(string(content[:n]), "\n"))
	if err != nil || len(key) != secretBytes {
		return nil, fmt.Errorf("the key file %s is damaged: remove it, and a new key is made; URLs that were signed with the old one end", path)
	}
	return key, nil
}
