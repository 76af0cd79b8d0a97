package callback_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"biplane.dev/biplane/internal/data/callback"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	run, err := names.NewRun("p", "d", "r")
	if err != nil {
		t.Fatal(err)
	}
	gate := names.Action{Run: run, Action: "gate"}
	var got []string
	var fails error
	h := callback.New([]byte("key"), "http://here", func(_ context.Context, condition names.Action, value json.RawMessage) error {
		if condition != gate {
			t.Errorf("answers %v", condition)
		}
		got = append(got, string(value))
		return fails
	})
	uri := h.URI(gate)
	if !strings.HasPrefix(uri, "http://here/conditions/p/d/r/gate?signature=") {
		t.Fatalf("address %s", uri)
	}
	post := func(method, uri, body string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, uri, strings.NewReader(body)))
		if w.Code != want {
			t.Errorf("%s %s with %.40s: %d, want %d: %s", method, uri, body, w.Code, want, w.Body)
		}
	}
	for _, body := range []string{"true", " 3 ", "0.5", `"text"`, "null"} {
		post(http.MethodPost, uri, body, http.StatusNoContent)
	}
	post(http.MethodPost, uri, `{"value": "inside"}`, http.StatusNoContent)
	want := []string{"true", " 3 ", "0.5", `"text"`, "null", `"inside"`}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("values %q, want %q", got, want)
	}
	got = nil
	for _, body := range []string{"", "yes", `{"value": 1, "more": 2}`, `{"answer": 1}`, "{}"} {
		post(http.MethodPost, uri, body, http.StatusBadRequest)
	}
	post(http.MethodPost, uri, `"`+strings.Repeat("x", 1<<20)+`"`, http.StatusRequestEntityTooLarge)
	post(http.MethodGet, uri, "", http.StatusMethodNotAllowed)
	for _, other := range []string{
		strings.Replace(uri, "/gate?", "/other?", 1), strings.Replace(uri, "/r/", "/s/", 1), strings.Replace(uri, "/p/", "/../", 1), uri + "x", uri[:strings.Index(uri, "?")],
		callback.New([]byte("another key"), "http://here", nil).URI(gate),
	} {
		post(http.MethodPost, other, "true", http.StatusForbidden)
	}
	if got != nil {
		t.Errorf("refused answers were given on: %q", got)
	}
	for kind, status := range map[fault.Kind]int{
		fault.KindInvalid: http.StatusBadRequest, fault.KindPrecondition: http.StatusConflict, fault.KindNotFound: http.StatusNotFound,
		fault.KindUnavailable: http.StatusServiceUnavailable, fault.KindInternal: http.StatusInternalServerError,
	} {
		fails = fault.New(kind, "because")
		post(http.MethodPost, uri, "true", status)
	}
}
