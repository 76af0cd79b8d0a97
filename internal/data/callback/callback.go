package callback

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Path is where the handler is to be mounted.
const Path = "/conditions/"

// maxBody bounds an answer in bytes.
const maxBody = 1 << 20

// Handler makes addresses and serves them.
type Handler struct {
	key    []byte
	base   string
	answer func(ctx context.Context, condition names.Action, value json.RawMessage) error
}

// New makes a handler. key signs; base is the address of the server, "http://host:port", as whoever answers reaches it. answer
// gives the condition the value, or a fault that says why not.
func New(key []byte, base string, answer func(ctx context.Context, condition names.Action, value json.RawMessage) error) *Handler {
	return &Handler{key: key, base: base, answer: answer}
}

// URI is the address that answers the condition.
func (h *Handler) URI(condition names.Action) string {
	path := strings.Join([]string{condition.Project.Project, condition.Domain, condition.Name, condition.Action}, "/")
	return h.base + Path + path + "?signature=" + base64.RawURLEncoding.EncodeToString(h.mac(condition))
}

// mac is over lines, which names cannot hold. Its first line keeps it apart from all else that is signed with the key.
func (h *Handler) mac(condition names.Action) []byte {
	mac := hmac.New(sha256.New, h.key)
	io.WriteString(mac, strings.Join([]string{"biplane condition 1", condition.Project.Project, condition.Domain, condition.Name, condition.Action}, "\n"))
	return mac.Sum(nil)
}

// ServeHTTP takes the value as JSON: true, 3, 0.5 or "text", alone or as {"value": ...}.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "answer a condition with POST and the value as JSON", http.StatusMethodNotAllowed)
		return
	}
	condition, ok := h.condition(r.URL)
	if !ok {
		http.Error(w, "this is not the address of a condition: it was altered, or made by another data plane", http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		http.Error(w, "the value is too long", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "the value could not be read", http.StatusBadRequest)
		return
	}
	value, ok := unwrap(body)
	if !ok {
		http.Error(w, `the body must be JSON: true, 3, 0.5 or "text", alone or as {"value": ...}`, http.StatusBadRequest)
		return
	}
	if err := h.answer(r.Context(), condition, value); err != nil {
		status, text := refusal(err)
		http.Error(w, text, status)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) condition(address *url.URL) (condition names.Action, ok bool) {
	parts := strings.Split(strings.TrimPrefix(address.Path, Path), "/")
	given, err := base64.RawURLEncoding.DecodeString(address.Query().Get("signature"))
	if err != nil || len(parts) != 4 {
		return condition, false
	}
	run, err := names.NewRun(parts[0], parts[1], parts[2])
	if err != nil {
		return condition, false
	}
	condition = names.Action{Run: run, Action: parts[3]}
	return condition, names.Check("action", parts[3]) == nil && hmac.Equal(given, h.mac(condition))
}

// unwrap takes the value out of the one object that is understood.
func unwrap(body []byte) (json.RawMessage, bool) {
	if !json.Valid(body) {
		return nil, false
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || fields == nil {
		return body, true
	}
	value, found := fields["value"]
	return value, found && len(fields) == 1
}

func refusal(err error) (status int, text string) {
	switch fault.KindOf(err) {
	case fault.KindInvalid:
		return http.StatusBadRequest, err.Error()
	case fault.KindNotFound:
		return http.StatusNotFound, err.Error()
	case fault.KindPrecondition:
		return http.StatusConflict, err.Error()
	case fault.KindExhausted, fault.KindUnavailable:
		return http.StatusServiceUnavailable, err.Error()
	}
	return http.StatusInternalServerError, "the data plane could not take the value; see its log"
}
