package listing

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"

	"biplane.dev/biplane/internal/fault"
)

// maxToken bounds what is decoded: the keys of one row, each at most a name or a value.
const maxToken = 8192

// token is what a page's token holds, before base64.
type token struct {
	Mark uint64 `json:"m"` // of the filters and the order
	Keys []any  `json:"k"` // strings and integers
}

func encode(q *Query, keys []any) string {
	t := token{Mark: digest(q.mark), Keys: make([]any, len(keys))}
	for i, key := range keys {
		if raw, ok := key.([]byte); ok {
			key = string(raw)
		}
		t.Keys[i] = key
	}
	raw, err := json.Marshal(t)
	if err != nil {
		panic("listing: a key that is neither text nor integer: " + err.Error()) // a List declared a column of another type
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// decode reads a token that came back. One of another list, other filters or another order would silently skip or repeat
// rows, so it is refused.
func decode(text string, q *Query) ([]any, error) {
	malformed := fault.Invalid("token", "is not one that this list gave out; start again without a token")
	if len(text) > maxToken {
		return nil, malformed
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, malformed
	}
	var t token
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&t); err != nil || len(t.Keys) != len(q.keys) {
		return nil, malformed
	}
	if t.Mark != digest(q.mark) {
		return nil, fault.Invalid("token", "belongs to a list with other filters or another order; start again without a token")
	}
	for i, key := range t.Keys {
		switch key := key.(type) {
		case json.Number:
			n, err := key.Int64()
			if err != nil {
				return nil, malformed
			}
			t.Keys[i] = n
		case string:
		default:
			return nil, malformed
		}
	}
	return t.Keys, nil
}

func digest(text string) uint64 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint64(sum[:8])
}
