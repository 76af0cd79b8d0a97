package secrets_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/secret"
	"biplane.dev/biplane/gen/flyteidl2/secret/secretconnect"
	"biplane.dev/biplane/internal/data/registry"
	"biplane.dev/biplane/internal/data/secrets"
	"biplane.dev/biplane/internal/rpc"
	"biplane.dev/biplane/internal/store"
)

// wire keeps what the server answers and logs.
type wire struct {
	mu   sync.Mutex
	seen bytes.Buffer
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.Write(p)
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Del("Accept-Encoding") // answers are to be read as they are
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(response.Body)
		fmt.Fprint(w, response.Header, string(body))
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	return response, err
}

func serve(t *testing.T) (secretconnect.SecretServiceClient, *wire) {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"), registry.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	scopes, err := registry.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	seen := &wire{}
	server, err := rpc.New(rpc.Config{Log: slog.New(slog.NewTextHandler(seen, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	server.Handle(secretconnect.NewSecretServiceHandler(secrets.NewService(openFile(t, t.TempDir()), scopes), server.Options()...))
	host := httptest.NewServer(server)
	t.Cleanup(host.Close)
	return secretconnect.NewSecretServiceClient(&http.Client{Transport: seen}, host.URL), seen
}

func identifier(name string) *secret.SecretIdentifier {
	return &secret.SecretIdentifier{Organization: "127", Project: "flytesnacks", Domain: "development", Name: name}
}

func stringValue(v string) *secret.SecretSpec {
	return &secret.SecretSpec{Value: &secret.SecretSpec_StringValue{StringValue: v}}
}

func refused(t *testing.T, err error, code connect.Code, words string) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %s with %q", err, code, words)
	}
}

// Everything that can be done with a secret, and everything that can be done wrong; the value is in no answer and no log.
func TestNoAnswerHoldsAValue(t *testing.T) {
	t.Parallel()
	client, seen := serve(t)
	ctx := t.Context()
	const marker = "MARKER-7f3a-value"
	if _, err := client.CreateSecret(ctx, &secret.CreateSecretRequest{Id: identifier("k"), SecretSpec: stringValue(marker)}); err != nil {
		t.Fatal(err)
	}
	_, err := client.CreateSecret(ctx, &secret.CreateSecretRequest{Id: identifier("k"), SecretSpec: stringValue(marker)})
	refused(t, err, connect.CodeAlreadyExists, `"k"`)
	if _, err := client.UpdateSecret(ctx, &secret.UpdateSecretRequest{Id: identifier("k"), SecretSpec: &secret.SecretSpec{Value: &secret.SecretSpec_BinaryValue{BinaryValue: []byte(marker)}}}); err != nil {
		t.Fatal(err)
	}
	_, err = client.UpdateSecret(ctx, &secret.UpdateSecretRequest{Id: identifier("nobody"), SecretSpec: stringValue(marker)})
	refused(t, err, connect.CodeNotFound, "nobody")
	got, err := client.GetSecret(ctx, &secret.GetSecretRequest{Id: identifier("k")})
	if err != nil || got.GetSecret().GetId().GetProject() != "flytesnacks" || got.GetSecret().GetSecretMetadata().GetCreatedTime() == nil ||
		got.GetSecret().GetSecretMetadata().GetSecretStatus().GetOverallStatus() != secret.OverallStatus_FULLY_PRESENT {
		t.Errorf("got %v, %v", got, err)
	}
	if list, err := client.ListSecrets(ctx, &secret.ListSecretsRequest{Project: "flytesnacks", Domain: "development"}); err != nil || len(list.GetSecrets()) != 1 {
		t.Errorf("got %v, %v", list, err)
	}
	_, err = client.CreateSecret(ctx, &secret.CreateSecretRequest{Id: identifier("big"), SecretSpec: stringValue(strings.Repeat(marker, secrets.MaxValue/len(marker)+1))})
	refused(t, err, connect.CodeInvalidArgument, "secret_spec.value")
	_, err = client.CreateSecret(ctx, &secret.CreateSecretRequest{Id: identifier("t"), SecretSpec: &secret.SecretSpec{Type: 7, Value: stringValue(marker).GetValue()}})
	refused(t, err, connect.CodeInvalidArgument, "secret_spec.type")
	_, err = client.CreateSecret(ctx, &secret.CreateSecretRequest{Id: identifier("t")})
	refused(t, err, connect.CodeInvalidArgument, "secret_spec.value")
	if _, err := client.DeleteSecret(ctx, &secret.DeleteSecretRequest{Id: identifier("k")}); err != nil {
		t.Fatal(err)
	}
	_, err = client.DeleteSecret(ctx, &secret.DeleteSecretRequest{Id: identifier("k")})
	refused(t, err, connect.CodeNotFound, "flyte get secret")
	if text := seen.seen.String(); strings.Contains(text, marker) || !strings.Contains(text, "flytesnacks") {
		t.Errorf("a value came back, or nothing was seen: %s", text)
	}
}

func TestListsGoOnByToken(t *testing.T) {
	t.Parallel()
	client, _ := serve(t)
	ctx := t.Context()
	var want []string
	for i := range 5 {
		name := fmt.Sprint("k", i)
		want = append(want, name)
		if _, err := client.CreateSecret(ctx, &secret.CreateSecretRequest{Id: identifier(name), SecretSpec: stringValue("v")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.CreateSecret(ctx, &secret.CreateSecretRequest{Id: &secret.SecretIdentifier{Name: "wide"}, SecretSpec: stringValue("v")}); err != nil {
		t.Fatal(err)
	}
	var got []string
	request := &secret.ListSecretsRequest{Project: "flytesnacks", Domain: "development", Limit: 2}
	for {
		page, err := client.ListSecrets(ctx, request)
		if err != nil || len(page.GetSecrets()) > 2 {
			t.Fatal(page, err)
		}
		for _, one := range page.GetSecrets() {
			got = append(got, one.GetId().GetName())
		}
		if request.Token = page.GetToken(); request.Token == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if whole, err := client.ListSecrets(ctx, &secret.ListSecretsRequest{}); err != nil || len(whole.GetSecrets()) != 6 {
		t.Errorf("the organisation has %v, %v", whole, err)
	}
	for _, token := range []string{"!", "bm9uZQ", strings.Repeat("L", 100000)} {
		_, err := client.ListSecrets(ctx, &secret.ListSecretsRequest{Token: token})
		refused(t, err, connect.CodeInvalidArgument, "token")
	}
}

func TestBadNames(t *testing.T) {
	t.Parallel()
	client, _ := serve(t)
	each := func(id *secret.SecretIdentifier, code connect.Code, words string) {
		t.Helper()
		for _, call := range []func(context.Context) error{
			func(ctx context.Context) error {
				_, err := client.CreateSecret(ctx, &secret.CreateSecretRequest{Id: id, SecretSpec: stringValue("v")})
				return err
			},
			func(ctx context.Context) error {
				_, err := client.GetSecret(ctx, &secret.GetSecretRequest{Id: id})
				return err
			},
			func(ctx context.Context) error {
				_, err := client.DeleteSecret(ctx, &secret.DeleteSecretRequest{Id: id})
				return err
			},
		} {
			refused(t, call(t.Context()), code, words)
		}
	}
	for _, bad := range []string{"..", "../k", "a/b", "%2e%2e", "a\x00b", "/etc", "kеy", strings.Repeat("k", 201)} {
		each(identifier(bad), connect.CodeInvalidArgument, "id.name")
		each(&secret.SecretIdentifier{Name: "k", Project: bad, Domain: "development"}, connect.CodeInvalidArgument, "project")
		each(&secret.SecretIdentifier{Name: "k", Domain: bad}, connect.CodeInvalidArgument, "domain")
	}
	each(&secret.SecretIdentifier{Name: "k", Project: "flytesnacks"}, connect.CodeInvalidArgument, "domain")
	each(&secret.SecretIdentifier{Name: "k", Project: "nobody", Domain: "development"}, connect.CodeNotFound, "nobody")
	each(&secret.SecretIdentifier{Name: "k", Domain: "moon"}, connect.CodeNotFound, "moon")
}
