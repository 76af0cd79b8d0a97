package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	enrollv1 "biplane.dev/biplane/gen/biplane/enroll/v1"
	"biplane.dev/biplane/gen/biplane/enroll/v1/enrollv1connect"
	"biplane.dev/biplane/internal/control/identity"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/link/linktest"
	"biplane.dev/biplane/internal/store"
)

func TestOfTwoPlacesTheFirstThatRenewsStays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	folder := h.enroll(h.add(here))
	other := h.copyOf(folder)
	h.good(folder)
	h.good(other) // nothing tells them apart yet
	h.renew(folder)
	h.refused(other)
	_, err := enrol.Renew(t.Context(), h.contact(), other)
	if !fault.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "copied") {
		t.Errorf("the copy renews: %v", err)
	}
	h.good(folder)
	if h.happened(identity.EventCopied) != 1 || h.standing().Copied.IsZero() {
		t.Errorf("noted %d times (once is enough), standing %+v", h.happened(identity.EventCopied), h.standing())
	}
	// It was the copy that renewed? Then a token gives the identity back to the right place, and ends the other's.
	if _, err := enrol.Enroll(t.Context(), h.contact(), h.invite(here), other); err != nil {
		t.Fatal(err)
	}
	h.good(other)
	h.refused(folder)
	if !h.standing().Copied.IsZero() {
		t.Errorf("standing %+v after a new enrolment", h.standing())
	}
}

// asks sends a request to renew for a fresh key, and does nothing with the answer.
func (h *house) asks(folder string, key *ecdsa.PrivateKey) (*enrollv1.RenewResponse, error) {
	h.t.Helper()
	config, err := link.ClientTLS(folder)
	if err != nil {
		h.t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		h.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	client := enrollv1connect.NewEnrollServiceClient(&http.Client{Transport: transport}, "https://"+h.address)
	return client.Renew(h.t.Context(), &enrollv1.RenewRequest{CertificateRequest: request})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestTwoKeysForOneRenewalAreACopy(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	folder := h.enroll(h.add(here))
	h.good(folder)
	ours, theirs := newKey(t), newKey(t)
	first, err := h.asks(folder, ours)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.asks(folder, theirs); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("with another key: %v", err)
	}
	if h.happened(identity.EventCopied) != 1 {
		t.Error("two keys were not noted")
	}
	// The answer got lost: the same key gets the same certificate, for as long as it was not shown.
	again, err := h.asks(folder, ours)
	if err != nil || string(again.GetCredential().GetChain()[0]) != string(first.GetCredential().GetChain()[0]) {
		t.Errorf("the same key again: %v", err)
	}
	h.good(folder)
}

func TestWhatCannotBeSigned(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	folder := h.enroll(h.add(here))
	config, err := link.ClientTLS(folder)
	if err != nil {
		t.Fatal(err)
	}
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, large)
	if err != nil {
		t.Fatal(err)
	}
	torn, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	torn[len(torn)-1] ^= 1
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	client := enrollv1connect.NewEnrollServiceClient(&http.Client{Transport: transport}, "https://"+h.address)
	for name, request := range map[string][]byte{"none": nil, "nonsense": []byte("x"), "a key of another kind": foreign, "a wrong signature": torn, "too long": make([]byte, 1<<16)} {
		if _, err := client.Renew(t.Context(), &enrollv1.RenewRequest{CertificateRequest: request}); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	nobody := config.Clone()
	nobody.GetClientCertificate = nil
	stranger := &http.Transport{TLSClientConfig: nobody}
	defer stranger.CloseIdleConnections()
	client = enrollv1connect.NewEnrollServiceClient(&http.Client{Transport: stranger}, "https://"+h.address)
	if _, err := client.Renew(t.Context(), &enrollv1.RenewRequest{}); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestACopyOnTheLinkIsRefusedAndDoesNotDisturb(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	folder := h.enroll(h.add(here))
	first := h.connect(folder, linktest.Open(t, t.TempDir()))
	first.up(t)
	second := h.connect(h.copyOf(folder), linktest.Open(t, t.TempDir()))
	second.down(t, "same identity")
	if h.happened(identity.EventCopied) != 1 || h.standing().Copied.IsZero() {
		t.Error("the copy was not noted")
	}
	select {
	case news := <-first.news:
		t.Errorf("the first was disturbed: %v", news)
	default:
	}
	// When the first has gone, the other may be the right one: a plane that was moved.
	first.stop()
	second.up(t)
}

func TestARestartedPlaneIsNoCopy(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	folder, state := h.enroll(h.add(here)), t.TempDir()
	for range 3 {
		source := linktest.Open(t, state)
		s := h.connect(folder, source)
		s.up(t)
		s.stop()
		source.Close()
	}
	if h.happened(identity.EventCopied) != 0 {
		t.Error("a restart was taken for a copy")
	}
}

func TestAReenrolledPlaceTakesTheLinkAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	folder := h.enroll(h.add(here))
	first := h.connect(folder, linktest.Open(t, t.TempDir()))
	first.up(t)
	second := h.connect(h.enroll(h.invite(here)), linktest.Open(t, t.TempDir()))
	second.up(t)
	first.down(t, "remote error: tls")
}

func TestARegisterThatWasPutBackBelievesNewerCertificates(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	folder := h.enroll(h.add(here))
	h.good(folder)
	const columns = `generation, step, current_print, current_key, current_chain, previous_print, confirmed_us, expires_us`
	var row [8]any
	err := h.db.Read(t.Context(), func(tx store.Tx) error {
		return tx.QueryRow(`SELECT `+columns+` FROM identities`).Scan(&row[0], &row[1], &row[2], &row[3], &row[4], &row[5], &row[6], &row[7])
	})
	if err != nil {
		t.Fatal(err)
	}
	stale := h.copyOf(folder)
	h.renew(folder)
	h.renew(folder)
	err = h.db.Write(t.Context(), func(tx store.WriteTx) error {
		_, err := tx.Exec(`UPDATE identities SET (`+columns+`) = (?, ?, ?, ?, ?, ?, ?, ?)`, row[:]...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.good(folder)
	if h.happened(identity.EventPutBack) != 1 {
		t.Error("not noted")
	}
	h.refused(stale)
	h.renew(folder)
	h.good(folder)
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	h, elsewhere := newHouse(t, 0), newHouse(t, 0)
	folder, foreign := h.enroll(h.add(here)), elsewhere.enroll(elsewhere.add(here))
	good, err := link.ClientTLS(folder)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := link.ClientTLS(foreign)
	if err != nil {
		t.Fatal(err)
	}
	mixed := good.Clone()
	mixed.GetClientCertificate = wrong.GetClientCertificate
	if err := h.shake(mixed); err == nil || !strings.Contains(err.Error(), "remote error: tls") {
		t.Errorf("a plane of another control plane: %v", err)
	}
	if err := h.handshake(foreign); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a plane trusts another control plane: %v", err)
	}
	nobody := good.Clone()
	nobody.GetClientCertificate = nil
	if err := h.shake(nobody); err != nil {
		t.Errorf("who shows no certificate may call: %v", err)
	}
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if err := h.shake(old); err == nil {
		t.Error("TLS 1.2 is let in")
	}
}
