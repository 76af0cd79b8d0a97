package names

import (
	"path"
	"strings"

	"biplane.dev/biplane/internal/fault"
)

// maxPlace is the longest place in bytes; what is put below it must still fit a path of 4,096.
const maxPlace = 1024

// CheckPlace accepts where a user wants files to be kept: an absolute path, or a URI with a scheme, without tricks. Not every
// plane can write to every place; that is for the plane to say.
func CheckPlace(field, place string) error {
	scheme, rest, isURI := strings.Cut(place, "://")
	if !isURI {
		rest = place
	}
	switch {
	case len(place) > maxPlace:
		return fault.Invalid(field, "is %d bytes long; at most %d are allowed", len(place), maxPlace)
	case isURI && (Check("scheme", scheme) != nil || rest == ""), !isURI && !strings.HasPrefix(place, "/"):
		return fault.Invalid(field, "must be an absolute path or a URI, got %q", place)
	}
	return CheckPath(field, rest)
}

// CheckPath accepts a path each part of which is the name of a file or folder (CheckFile), with nothing in it that stands for
// another path. A slash at either end is let pass.
func CheckPath(field, place string) error {
	if strings.ContainsFunc(place, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' || c == '%' || c == '?' || c == '#' }) ||
		path.Clean(place) != strings.TrimSuffix(place, "/") && place != "/" {
		return fault.Invalid(field, "must be plain, without \"..\", escapes, queries or doubled slashes, got %q", place)
	}
	for part := range strings.SplitSeq(strings.Trim(place, "/"), "/") {
		if part == "" {
			continue // the root
		}
		if err := CheckFile(field, part); err != nil {
			return err
		}
	}
	return nil
}
