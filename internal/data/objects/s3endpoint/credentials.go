package s3endpoint

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"biplane.dev/biplane/internal/data/objects"
)

// Credentials are the one pair of a data plane. Its tasks get them, and clients that read raw data.
type Credentials struct {
	AccessKey string
	Secret    string
}

// LoadCredentials derives the pair from the key in the file at path, which is made when it is missing (objects.LoadKey).
func LoadCredentials(path string) (Credentials, error) {
	key, err := objects.LoadKey(path)
	if err != nil {
		return Credentials{}, err
	}
	derive := func(use string) string {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(use))
		return hex.EncodeToString(mac.Sum(nil))
	}
	return Credentials{AccessKey: "biplane" + derive("biplane s3 access key")[:16], Secret: derive("biplane s3 secret")}, nil
}

// String keeps the secret out of logs.
func (c Credentials) String() string { return c.AccessKey }

// GoString keeps the secret out of logs.
func (c Credentials) GoString() string { return c.AccessKey }
