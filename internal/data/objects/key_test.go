package objects_test

import (
	"errors"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
)

var badNames = []string{
	"", ".", "..", "...", "…", "a/b", "/", "/etc", "a\\b", "\\", "a\x00", "\x00", "a\nb", "a\tb", "a\x7f", "a\u0085b", "\xff\xfe", "a\xc0\xafb",
	"%2e%2e", "%2E", "a%2fb", "a%00", "a%5cb", "％2e％2e", "﹪2e", " a", "a ", "a\u3000", "\u00a0a",
	"\u2024\u2024", "\u2025", "a\uff0eb", "\ufe52", "a\u2215b", "a\u2044b", "a\uff0fb", "a\u29f8b", "a\uff3cb", "a\u2216b", "a\u29f5b",
	"a\u202eb", "a\u200bb", "a\ufeffb", "a\u2028b", "a\u00adb", "a\ue000b", "a\U000e0041b",
	strings.Repeat("a", 256), strings.Repeat("ü", 128),
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range badNames {
		err := objects.CheckName("filename", name)
		var f *fault.Fault
		if !errors.As(err, &f) || f.Kind != fault.KindInvalid || f.Field != "filename" {
			t.Errorf("%q: got %v, want it refused with the field's name", name, err)
		}
		if _, err := objects.NewKey("ok", name, "ok"); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("NewKey with %q: %v", name, err)
		}
	}
	for _, name := range []string{
		"a", "outputs.pb", ".hidden", "..a", "a..b", "a..", "-", "_", "100%", "50%off", "5%2", "a b", "C++", "a=b", "x@y", "a,b", "~tmp", "(1)", "naïve", "nai\u0308ve",
		"отчёт", "数据。csv", "なに…", "میخواهم", "क्\u200dष", "👨\u200d👩\u200d👧", "10\u202f42 PM.png", strings.Repeat("a", 255),
	} {
		if err := objects.CheckName("filename", name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	if _, err := objects.NewKey(); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("no segments: %v", err)
	}
	for _, path := range []string{"", "/", "a/", "/a", "a//b", "a/../b", "../a", "a/.", strings.Repeat("abc/", 256) + "d"} {
		if _, err := objects.ParseKey(path); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("ParseKey(%q): %v", path, err)
		}
	}
	key, err := objects.Key("a").Join("b", "c d")
	if err != nil || key != "a/b/c d" || key.Name() != "c d" {
		t.Errorf("Join: %q, %v", key, err)
	}
	if key, err := objects.Key("").Join("b"); err != nil || key != "b" {
		t.Errorf("Join to nothing: %q, %v", key, err)
	}
	if _, err := objects.Key("a").Join("../b"); err == nil {
		t.Error("Join took two segments in one")
	}
}

// Whatever bytes come in a path-like field: a key is made of them only when cleaning, decoding and folding leave it where it is.
func FuzzParseKey(f *testing.F) {
	for _, name := range badNames {
		f.Add(name)
		f.Add("run/" + name + "/x")
	}
	f.Add("p/d/run/a0/1/outputs.pb")
	f.Fuzz(func(t *testing.T, input string) {
		key, err := objects.ParseKey(input)
		if err != nil {
			var invalid *fault.Fault
			if key != "" || !errors.As(err, &invalid) || invalid.Kind != fault.KindInvalid || invalid.Field == "" {
				t.Fatalf("ParseKey(%q) = %q, %v", input, key, err)
			}
			return
		}
		if string(key) != input || path.Join("/x", input) != "/x/"+input || !utf8.ValidString(input) || len(input) > objects.MaxKey {
			t.Fatalf("ParseKey(%q) = %q", input, key)
		}
		for _, segment := range strings.Split(input, "/") {
			if len(segment) > objects.MaxName || strings.Trim(segment, ".") == "" || strings.ContainsAny(segment, "\\\x00\n\r") {
				t.Fatalf("ParseKey(%q) took segment %q", input, segment)
			}
		}
	})
}
