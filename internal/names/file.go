package names

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"biplane.dev/biplane/internal/fault"
)

// MaxFile is the longest name of a file in bytes: what file systems hold.
const MaxFile = 255

// CheckFile accepts value as the name of a file or folder that a user chose. It takes what people call files in any script, and refuses with the field's name what could be taken for something else than one
// name: separators and dots and whatever looks or decodes like them, control and invisible characters.
//
// Names are not normalised: a Dir must come back with the names it was stored with, so the two ways to write "ü" are two names.
func CheckFile(field, value string) error {
	switch {
	case value == "":
		return fault.Invalid(field, "is empty, or has an empty segment")
	case len(value) > MaxFile:
		return fault.Invalid(field, "has a name of %d bytes; at most %d are allowed", len(value), MaxFile)
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
