package tunnel

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestLadder: scripts of what happened, and by which transport the next try goes.
func TestLadder(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"away away away away":                     "tls tls tls tls",
		"alpn up up":                              "websocket websocket websocket",
		"died died up":                            "tls websocket websocket",
		"died up died up":                         "tls tls tls tls",
		"died away died up":                       "tls tls websocket websocket",
		"alpn died died up":                       "websocket websocket tls tls",
		"alpn up hour":                            "websocket websocket tls",
		"alpn up hour alpn up hour":               "websocket websocket tls websocket websocket tls",
		"alpn up hour died":                       "websocket websocket tls websocket",
		"alpn up hour up up":                      "websocket websocket tls tls tls",
		"alpn hour away away died":                "websocket tls tls tls websocket",
		"alpn hour died died died alpn":           "websocket tls websocket websocket tls websocket",
		"alpn away away":                          "websocket websocket websocket",
		"died died died died died died died died": "tls websocket websocket tls tls websocket websocket tls",
	} {
		var l ladder
		var got []string
		now := time.Unix(0, 0)
		for _, event := range strings.Fields(script) {
			by := l.next(now)
			switch event {
			case "hour":
				now = now.Add(time.Hour)
			case "up":
				l.up(by)
			default:
				l.failed(by, map[string]failure{"away": notThere, "alpn": noALPN, "died": died}[event], now)
			}
			got = append(got, fmt.Sprint(l.next(now)))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s:\ngot  %v\nwant %s", script, got, want)
		}
	}
}

// TestLadderIsNeverStuck: whatever happened, a plane whose network lets only one transport through finds it within a few tries.
func TestLadderIsNeverStuck(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l ladder
		now := time.Unix(0, 0)
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3*3600).Draw(t, "seconds")) * time.Second)
			if by := l.next(now); rapid.Bool().Draw(t, "up") {
				l.up(by)
			} else {
				l.failed(by, failure(rapid.IntRange(0, 2).Draw(t, "how")), now)
			}
		}
		works := transport(rapid.IntRange(0, 1).Draw(t, "works"))
		for range 2*deathsAllowed + 2 {
			by := l.next(now)
			if by == works {
				return
			}
			l.failed(by, died, now)
			now = now.Add(time.Second)
		}
		t.Fatalf("%v is never tried", works)
	})
}
