package names_test

import (
	"strings"
	"testing"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

func TestCheckPlace(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"/data", "/data/", "/", "/größe/x y", "s3://bucket", "s3://bucket/a/b/", "local:///var/x"} {
		if err := names.CheckPlace("f", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "data", "../x", "/a/../b", "/a//b", "/a/./b", "/a/%2e%2e/b", "/a\x00b", "/a\nb", "/a\\b", "s3://", "://x", "s3://b/../c", "s3://b?x=1", "s3://b#x",
		"a b://c", "/a/．．/b", "/a/‥/b", "s3://b/a∕c", "/a\u200b/b", "/a / b", "/" + strings.Repeat("x", 256), "/" + strings.Repeat("x", 1024),
	} {
		if err := names.CheckPlace("f", bad); !fault.Is(err, fault.KindInvalid) || !strings.HasPrefix(err.Error(), "f") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
