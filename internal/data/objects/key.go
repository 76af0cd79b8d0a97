package objects

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"biplane.dev/biplane/internal/fault"
)

// MaxName is the longest segment of a key in bytes: what file systems hold.
const MaxName = 255

// MaxKey is the longest key in bytes: what S3 holds.
const MaxKey = 1024

// Key is an object's place in the bucket: segments joined by '/', none of them empty, "." or "..". Only NewKey, ParseKey and
// Bucket.Key make one.
type Key string

// NewKey joins segments to a key. Each must pass CheckName; names of ours (project, run, action) have passed names.Check
// before, which is stricter.
func NewKey(segments ...string) (Key, error) {
	if len(segments) == 0 {
		return "", fault.Invalid("key", "is empty")
	}
	for _, segment := range segments {
		if err := CheckName("key", segment); err != nil {
			return "", err
		}
	}
	key := strings.Join(segments, "/")
	if len(key) > MaxKey {
		return "", fault.Invalid("key", "is %d bytes long; at most %d are allowed", len(key), MaxKey)
	}
	return Key(key), nil
}

// ParseKey is NewKey of the segments of path, which are separated by '/'.
func ParseKey(path string) (Key, error) {
	if len(path) > MaxKey {
		return "", fault.Invalid("key", "is %d bytes long; at most %d are allowed", len(path), MaxKey)
	}
	return NewKey(strings.Split(path, "/")...)
}

// Join is the key of segments below k.
func (k Key) Join(segments ...string) (Key, error) {
	if k == "" {
		return NewKey(segments...)
	}
	return NewKey(append(strings.Split(string(k), "/"), segments...)...)
}

// Name is the last segment.
func (k Key) Name() string { return string(k[strings.LastIndexByte(string(k), '/')+1:]) }

// CheckName accepts value as one segment of a key. Users' own file names end up here (the SDK uploads them as they are), so it takes
// what people call files in any script, and refuses with the field's name what could be taken for something else than one
// name: separators and dots and whatever looks or decodes like them, control and invisible characters.
//
// Names are not normalised: a Dir must come back with the names it was stored with, so the two ways to write "ü" are two names.
func CheckName(field, value string) error {
	switch {
	case value == "":
		return fault.Invalid(field, "is empty, or has an empty segment")
	case len(value) > MaxName:
		return fault.Invalid(field, "has a name of %d bytes; at most %d are allowed", len(value), MaxName)
	case !utf8.ValidString(value):
		return fault.Invalid(field, "has a name that is not UTF-8: %q", value)
	case strings.Trim(value, ".…") == "":
		return fault.Invalid(field, "has a name of dots only: %q", value)
	case value != strings.TrimSpace(value):
		return fault.Invalid(field, "has a name that starts or ends with a space: %q", value)
	}
	for i, r := range value {
		switch {
		case !visible(r):
			return fault.Invalid(field, "has a name with the character %U, which is a control character or not visible: %q", r, value)
		case r == '/' || r == '\\' || lookalike(r):
			return fault.Invalid(field, "has a name with the character %q (%U), which is, or looks like, a separator or a dot of a path: %q", r, r, value)
		case r == '%' || r == '％' || r == '﹪':
			if rest := value[i+utf8.RuneLen(r):]; len(rest) >= 2 && hexDigit(rest[0]) && hexDigit(rest[1]) {
				return fault.Invalid(field, "has a name with %q, which looks like an encoded character: %q", value[i:len(value)-len(rest)+2], value)
			}
		}
	}
	return nil
}

// visible tells letters, marks, digits, punctuation, symbols and spaces from controls, direction overrides, zero-width and
// unassigned characters. The two joiners stay: Persian, Hindi and emoji are not written without them.
func visible(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = 0x200C, 0x200D
	return r == zeroWidthNonJoiner || r == zeroWidthJoiner || unicode.IsGraphic(r)
}

// lookalike lists the characters that fonts draw, or normal form KC maps, as '.', '/' or '\'. The ideographic full stop and the
// ellipsis are not among them: they are ordinary in names, and no software takes them for a path.
func lookalike(r rune) bool {
	switch r {
	case 0x2024, 0x2025, 0xFE52, 0xFF0E, // one and two dot leaders, small and full-width full stop
		0x2044, 0x2215, 0x2571, 0x27CB, 0x29F8, 0xFF0F, // fraction, division, box, rising and big slash, full-width solidus
		0x2216, 0x2572, 0x27CD, 0x29F5, 0x29F9, 0xFE68, 0xFF3C: // the same of '\'
		return true
	}
	return false
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
