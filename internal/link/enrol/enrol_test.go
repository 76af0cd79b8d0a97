package enrol

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"biplane.dev/biplane/internal/fault"
)

func TestTokensAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	want := NewToken(Fingerprint{1, 2, 3})
	got, err := ParseToken(" " + want.Text() + "\n")
	if err != nil || got != want {
		t.Fatalf("token %v, err %v", got, err)
	}
	if other := NewToken(want.Anchor); other.ID == want.ID || other.Secret == want.Secret {
		t.Error("two tokens are the same")
	}
	for _, shown := range []string{fmt.Sprint(want), fmt.Sprintf("%v %+v %#v %s", want, want, want, want)} {
		if strings.Contains(shown, want.Secret) {
			t.Errorf("the secret shows: %s", shown)
		}
	}
}

func TestWhatIsNoTokenIsRefusedWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	good := NewToken(Fingerprint{}).Text()
	parts := strings.Split(good, ".")
	for _, bad := range []string{
		"", "  \n", "hello", good + ".x", good[:len(good)-1], strings.Join(parts[:3], "."), strings.ToUpper(good), "x" + good, strings.Repeat("a", 600),
		strings.Join([]string{parts[0], parts[1], "short", parts[3]}, "."), strings.Join([]string{parts[0], "", parts[2], parts[3]}, "."),
	} {
		_, err := ParseToken(bad)
		if !fault.Is(err, fault.KindInvalid) || !strings.HasPrefix(err.Error(), "token: ") {
			t.Errorf("%q: %v", bad, err)
		}
		if err != nil && strings.Contains(err.Error(), parts[2]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestRenewalIsBeforeHalfOfALife(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "begin"), 0)
		life := time.Duration(rapid.Int64Range(int64(time.Second), int64(1000*time.Hour)).Draw(t, "life"))
		at := renewAt(begin, begin.Add(life), rapid.Float64Range(0, 1).Draw(t, "place"))
		if at.Before(begin.Add(life/3)) || at.After(begin.Add(life/2)) {
			t.Fatalf("a certificate from %v for %v is renewed at %v", begin, life, at)
		}
	})
}
