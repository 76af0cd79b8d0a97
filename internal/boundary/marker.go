package boundary

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// coreLen letters are what a search looks for; each has five bits of chance, so no two searches share a marker.
const coreLen = 20

// placeLen letters after the core say where a marker was put.
const placeLen = 4

// letters survive in every place a marker is put: names of modules, of files, of runs; text that is lowered.
const letters = "abcdefghijkmnpqrstuvwxyz23456789"

// Core is the part that all markers of one search share.
type Core string

// NewCore makes one that was never used. It begins with a letter, so that it can be an identifier.
func NewCore() Core {
	random := make([]byte, coreLen)
	_, _ = rand.Read(random) // never fails
	for i, b := range random {
		random[i] = letters[int(b)%len(letters)]
	}
	random[0] = 'm'
	return Core(random)
}

// At is the marker for a place: the core and four letters.
func (c Core) At(place string) (string, error) {
	if len(place) != placeLen {
		return "", fmt.Errorf("the place %q has not %d letters", place, placeLen)
	}
	return string(c) + place, nil
}

// form is one way in which bytes can stand for a marker's core.
type form struct {
	name   string
	needle []byte
	// place reads the letters after the core from the bytes at the hit; empty when it cannot.
	place func(at []byte) string
}

// forms are the needles of a core. Those of base64 stand for the part of the core that is the same whatever comes before and
// after it.
func forms(core Core) []form {
	text := []byte(core)
	wide := spread(text, 1) // UTF-16 of either order
	all := []form{
		{"plain", text, after(len(text), 1)},
		{"UTF-16", wide, after(len(text)*2, 2)},
		{"UTF-32", spread(text, 3), after(len(text)*4, 4)},
		{"hex", []byte(hex.EncodeToString(text)), afterHex(len(text) * 2)},
		{"hex", bytes.ToUpper([]byte(hex.EncodeToString(text))), afterHex(len(text) * 2)},
		{"upper case", bytes.ToUpper(text), after(len(text), 1)},
		{"reversed", reversed(text), func([]byte) string { return "" }},
	}
	for shift := range 3 {
		std, skipped := base64Core(base64.RawStdEncoding, text, shift)
		all = append(all, form{"base64", std, afterBase64(base64.RawStdEncoding, len(text), skipped)})
		if url, skipped := base64Core(base64.RawURLEncoding, text, shift); !bytes.Equal(url, std) {
			all = append(all, form{"base64url", url, afterBase64(base64.RawURLEncoding, len(text), skipped)})
		}
	}
	return all
}

// base64Core encodes text as it looks when shift bytes come before it in its group of three, without the letters that depend on
// its neighbours. skipped is how many bytes of text come before the first letter that is left.
func base64Core(encoding *base64.Encoding, text []byte, shift int) (needle []byte, skipped int) {
	skipped = (3 - shift) % 3
	whole := (len(text) - skipped) / 3 * 3
	return []byte(encoding.EncodeToString(text[skipped : skipped+whole])), skipped
}

func spread(text []byte, zeros int) []byte {
	var wide []byte
	for i, b := range text {
		if i > 0 {
			wide = append(wide, make([]byte, zeros)...)
		}
		wide = append(wide, b)
	}
	return wide
}

func reversed(text []byte) []byte {
	back := make([]byte, len(text))
	for i, b := range text {
		back[len(text)-1-i] = b
	}
	return back
}

// after reads the place from every step-th byte.
func after(offset, step int) func([]byte) string {
	return func(at []byte) string {
		var place []byte
		for i := offset; i < len(at) && len(place) < placeLen; i += step {
			place = append(place, at[i])
		}
		return string(place)
	}
}

func afterHex(offset int) func([]byte) string {
	return func(at []byte) string {
		if len(at) < offset+2*placeLen {
			return ""
		}
		place, err := hex.DecodeString(string(at[offset : offset+2*placeLen]))
		if err != nil {
			return ""
		}
		return string(place)
	}
}

// afterBase64 decodes from the first whole group of the core on.
func afterBase64(encoding *base64.Encoding, core, skipped int) func([]byte) string {
	return func(at []byte) string {
		rest := core - skipped               // bytes of the core from the needle's first on
		whole := ((rest+placeLen)*8 + 5) / 6 // the fewest letters that hold them and the place
		if len(at) < whole {
			return ""
		}
		text, err := encoding.DecodeString(string(at[:whole]))
		if err != nil || len(text) < rest+placeLen {
			return ""
		}
		return string(text[rest : rest+placeLen])
	}
}
