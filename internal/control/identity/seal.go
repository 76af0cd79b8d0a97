package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/argon2"

	"biplane.dev/biplane/internal/fault"
)

// What a sealed key begins with: where the key that opens it comes from.
const (
	sealedByFile       = 'f'
	sealedByPassphrase = 'p'
)

const (
	saltSize = 16
	keySize  = 32 // AES-256
)

// seal keeps the authorities' keys from whoever has only the database.
type seal struct {
	kind   byte
	secret []byte
}

// openSeal takes the passphrase when there is one, else the key file. makeFile says that a missing file may be made: nothing
// has been sealed yet.
func openSeal(c Config, makeFile bool) (*seal, error) {
	if c.Passphrase != "" {
		return &seal{kind: sealedByPassphrase, secret: []byte(c.Passphrase)}, nil
	}
	secret, err := readKeyFile(c.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if !makeFile {
			return nil, fault.New(fault.KindPrecondition, "%s is missing, and without it the keys of this control plane's authority cannot be decrypted; put it back from your backup", c.KeyFile)
		}
		secret, err = makeKeyFile(c.KeyFile)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.KindPrecondition, "the key file of the authority: %v", err)
	}
	return &seal{kind: sealedByFile, secret: secret}, nil
}

func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %v: others may read it; chmod 600 it, and consider whether they did", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) != keySize {
		return nil, fmt.Errorf("%s does not hold 32 bytes in base64", path)
	}
	return secret, nil
}

// makeKeyFile makes the file, or reads the one that another replica has made meanwhile.
func makeKeyFile(path string) ([]byte, error) {
	secret := make([]byte, keySize)
	rand.Read(secret)
	file, err := os.CreateTemp(folderOf(path), ".key-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(base64.StdEncoding.EncodeToString(secret) + "\n")
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, err
	}
	if err := os.Link(file.Name(), path); errors.Is(err, fs.ErrExist) {
		return readKeyFile(path)
	} else if err != nil {
		return nil, err
	}
	return secret, nil
}

func folderOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i+1]
	}
	return "."
}

// key derives the key for one sealing. A passphrase is stretched: 64 MiB and about a tenth of a second for each guess.
func (s *seal) key(salt []byte) ([]byte, error) {
	if s.kind == sealedByPassphrase {
		return argon2.IDKey(s.secret, salt, 1, 64<<10, 4, keySize), nil
	}
	return hkdf.Key(sha256.New, s.secret, salt, "biplane authority key", keySize)
}

func (s *seal) cipher(salt []byte) (cipher.AEAD, error) {
	key, err := s.key(salt)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// close encrypts a key; it opens only together with the same certificate.
func (s *seal) close(key, certificate []byte) ([]byte, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	sealing, err := s.cipher(salt)
	if err != nil {
		return nil, err
	}
	sealed := append([]byte{s.kind}, salt...)
	return sealing.Seal(sealed, nil, key, certificate), nil
}

// open decrypts what close made.
func (s *seal) open(sealed, certificate []byte) ([]byte, error) {
	if len(sealed) < 1+saltSize {
		return nil, errors.New("the sealed key is cut off")
	}
	if sealed[0] != s.kind {
		if sealed[0] == sealedByPassphrase {
			return nil, fault.New(fault.KindPrecondition, "the keys of this control plane's authority are sealed with a passphrase, and none was given")
		}
		return nil, fault.New(fault.KindPrecondition, "the keys of this control plane's authority are sealed with a key file; start without a passphrase")
	}
	opening, err := s.cipher(sealed[1 : 1+saltSize])
	if err != nil {
		return nil, err
	}
	key, err := opening.Open(nil, nil, sealed[1+saltSize:], certificate)
	if err != nil {
		return nil, fault.New(fault.KindPrecondition, "the keys of this control plane's authority cannot be decrypted: the key file or the passphrase is not the one that they were sealed with")
	}
	return key, nil
}
