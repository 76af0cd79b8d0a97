package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// magic begins a sealed file and is authenticated with it, so that a later format cannot be taken for this one.
const magic = "biplane secrets 1\n"

const keySize = 32 // bytes; AES-256

// box encrypts and authenticates with AES-256-GCM and a random nonce for every write. The nonce's 96 bits are enough for
// 2^32 writes of a file that changes when somebody edits a secret.
type box struct{ aead cipher.AEAD }

// openBox reads the key, or makes one when there is none and create allows it. The key must be readable by its owner only.
func openBox(path string, create bool) (*box, error) {
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		key = make([]byte, keySize)
		rand.Read(key)
		err = replaceFile(path, key)
	}
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &box{aead}, err
}

func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key %s can be read by others (mode %o); make it private with: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	if info.Size() != keySize {
		return nil, fmt.Errorf("the key %s is %d bytes long, want %d", path, info.Size(), keySize)
	}
	return os.ReadFile(path)
}

func (b *box) seal(plain []byte) []byte {
	return b.aead.Seal([]byte(magic), nil, plain, []byte(magic))
}

func (b *box) open(sealed []byte) ([]byte, error) {
	if len(sealed) < len(magic) || string(sealed[:len(magic)]) != magic {
		return nil, errors.New("not a file of secrets")
	}
	return b.aead.Open(nil, nil, sealed[len(magic):], []byte(magic))
}

// replaceFile writes content to a new file that only its owner can read and puts it in the place of path: a reader, and a
// crash, sees the old content or the new.
func replaceFile(path string, content []byte) (err error) {
	directory := filepath.Dir(path)
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(directory, ".secrets-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	// The rename is what counts; that it is durable needs the folder on disk, too. Failing here leaves the new content in
	// place, so it is not reported as a failed change.
	if d, err := os.Open(directory); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}
