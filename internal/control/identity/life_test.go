package identity_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/control/identity"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/link/linktest"
	"biplane.dev/biplane/internal/store"
)

func TestAPlaneFromItsFirstDayToItsLast(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	token := h.add(here)
	if s := h.standing(); s.State != identity.Invited {
		t.Errorf("standing %+v", s)
	}
	folder := filepath.Join(t.TempDir(), "tls")
	enrolled, err := enrol.Enroll(t.Context(), h.contact(), token, folder)
	if err != nil {
		t.Fatal(err)
	}
	if enrolled.Plane != here || enrolled.Pool != "blue" || len(enrolled.FrontDoors) != 1 || enrolled.FrontDoors[0] != "here.example.com" {
		t.Errorf("enrolled %+v", enrolled)
	}
	if left := time.Until(enrolled.Expires); left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("the certificate is good for %v", left)
	}
	for _, name := range []string{link.KeyFile} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if address, err := os.ReadFile(filepath.Join(folder, enrol.AddressFile)); err != nil || strings.TrimSpace(string(address)) != h.address {
		t.Errorf("address %q, err %v", address, err)
	}

	source := linktest.Open(t, t.TempDir())
	s := h.connect(folder, source)
	s.up(t)
	if s := h.standing(); s.State != identity.Enrolled || !h.reporting() {
		t.Errorf("standing %+v, reporting %v", s, h.reporting())
	}

	before, err := os.ReadFile(filepath.Join(folder, link.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	older := h.copyOf(folder)
	h.renew(folder)
	if after, err := os.ReadFile(filepath.Join(folder, link.KeyFile)); err != nil || string(after) == string(before) {
		t.Errorf("the key is the same after a renewal, err %v", err)
	}
	h.good(folder)
	h.refused(older)
	if !h.reporting() {
		t.Error("a renewal cut the session")
	}

	if err := h.authority.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.good(folder)
	h.renew(folder)
	h.good(folder)

	h.remove(here)
	s.down(t, "")
	linktest.Eventually(t, "the plane reports no more", func() bool { return !h.reporting() })
	s.down(t, "remote error: tls")
	h.refused(folder)
	if _, err := enrol.Renew(t.Context(), h.contact(), folder); !fault.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "biplane planes") {
		t.Errorf("renewal after removal: %v", err)
	}
	if s := h.standing(); s.State != identity.Removed {
		t.Errorf("standing %+v", s)
	}
	if h.happened(identity.EventAfterRemove) == 0 {
		t.Error("what was refused after the removal was not noted")
	}

	// The same name again is another enrolment: what was good before the removal stays refused.
	h.enroll(h.add(here))
	h.refused(folder)
	for what, want := range map[string]int{identity.EventAdded: 2, identity.EventEnrolled: 2, identity.EventRenewed: 2, identity.EventRemoved: 1, identity.EventOutdated: 1} {
		if got := h.happened(what); got != want {
			t.Errorf("%s: noted %d times, want %d", what, got, want)
		}
	}
}

func TestATokenIsGoodOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	token := h.add(here)
	folder := h.enroll(token)
	thief := filepath.Join(t.TempDir(), "tls")
	_, err := enrol.Enroll(t.Context(), h.contact(), token, thief)
	if !fault.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "was used already") {
		t.Errorf("a second use: %v", err)
	}
	if _, err := os.Stat(filepath.Join(thief, link.CertFile)); err == nil {
		t.Error("the second use got a certificate")
	}
	if h.happened(identity.EventTokenUsed) != 1 {
		t.Error("the second use was not noted")
	}
	h.good(folder)
	if text := h.log.String(); strings.Contains(text, token.Secret) {
		t.Error("the token's secret is in the log")
	}
	raw, err := os.ReadFile(filepath.Join(h.root, "control.db-wal"))
	if err != nil || strings.Contains(string(raw), token.Secret) || !strings.Contains(string(raw), token.ID) {
		t.Errorf("the database holds the token's secret, or not its id; err %v", err)
	}
	// A new token, for the one that was robbed: it ends what the first one gave.
	h.enroll(h.invite(here))
	h.refused(folder)
}

func TestALostAnswerCostsNoToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	token := h.add(here)
	folder := filepath.Join(t.TempDir(), "tls")
	if _, err := enrol.NextKey(folder); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(folder, link.NextKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enrol.Enroll(t.Context(), h.contact(), token, folder); err != nil {
		t.Fatal(err)
	}
	// As it was before the answer came.
	lost := filepath.Join(t.TempDir(), "tls")
	if err := os.Mkdir(lost, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(lost, link.NextKeyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := enrol.Enroll(t.Context(), h.contact(), token, lost); err != nil {
		t.Fatalf("the same key again: %v", err)
	}
	h.good(lost)
	h.good(folder) // it is the same certificate
	if n := h.happened(identity.EventEnrolled); n != 1 {
		t.Errorf("enrolled %d times", n)
	}
}

func TestTokensThatDoNotServe(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	try := func(token enrol.Token) error {
		_, err := enrol.Enroll(t.Context(), h.contact(), token, filepath.Join(t.TempDir(), "tls"))
		return err
	}
	token := h.add(here)
	wrong := token
	wrong.Secret = strings.Repeat("a", len(wrong.Secret))
	unknown := enrol.NewToken(token.Anchor)
	stranger := token
	stranger.Anchor[0]++
	newer := h.invite(here)
	for name, c := range map[string]struct {
		token enrol.Token
		words string
		event string
	}{
		"withdrawn by a newer one":      {token, "withdrawn", identity.EventTokenVoid},
		"with another secret":           {wrong, "not one of this control plane's", identity.EventTokenWrong},
		"unknown":                       {unknown, "not one of this control plane's", ""},
		"made by another control plane": {stranger, "the token was not sent", ""},
	} {
		err := try(c.token)
		if !fault.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), c.token.Secret) {
			t.Errorf("%s: %v", name, err)
		}
		if c.event != "" && h.happened(c.event) == 0 {
			t.Errorf("%s: not noted", name)
		}
	}
	h.ahead.Add(int64(time.Hour))
	if err := try(newer); err == nil || !strings.Contains(err.Error(), "expired at") || h.happened(identity.EventTokenLate) != 1 {
		t.Errorf("expired: %v", err)
	}
	if s := h.standing(); s.State != identity.Lapsed {
		t.Errorf("standing %+v", s)
	}
	last := h.invite(here)
	h.remove(here)
	if err := try(last); err == nil || !strings.Contains(err.Error(), "withdrawn") {
		t.Errorf("of a removed plane: %v", err)
	}
	if s := h.standing(); s.State != identity.Removed {
		t.Errorf("standing %+v", s)
	}
}

func TestWhatCannotBeAdded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	h.add(here)
	add := func(name, pool string, doors ...string) error {
		plane := link.Plane{Org: "local", Name: name}
		_, _, err := h.authority.Add(t.Context(), plane, 0, "me", func(tx store.WriteTx) error { return h.fleet.Register(tx, plane, pool, doors) })
		return err
	}
	if err := add("here", ""); !fault.Is(err, fault.KindExists) || !strings.Contains(err.Error(), "biplane planes token here") {
		t.Errorf("the same name twice: %v", err)
	}
	if err := add("there", "", "HERE.example.com"); !fault.Is(err, fault.KindExists) {
		t.Errorf("the front door of another: %v", err)
	}
	for _, c := range [][]string{{"", ""}, {"Here", ""}, {"a.b", ""}, {"a-", ""}, {"a", "Blue"}, {"a", "", "x y"}, {"a", "", "10.0.0.1"}, {"a", "", ".com"}, {"a", "", "-x.com"}} {
		if err := add(c[0], c[1], c[2:]...); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%q: %v", c, err)
		}
	}
	if plane, known, err := h.fleet.FrontDoor(t.Context(), "Here.Example.com"); err != nil || !known || plane != here {
		t.Errorf("front door: %v %v %v", plane, known, err)
	}
	h.remove(here)
	if _, known, err := h.fleet.FrontDoor(t.Context(), "here.example.com"); err != nil || known {
		t.Errorf("the front door of a removed plane: %v %v", known, err)
	}
}

func TestAPlaneThatWasAwayDuringARotationComesBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	folder := h.enroll(h.add(here))
	h.good(folder)
	intermediate := func() string {
		raw, err := os.ReadFile(filepath.Join(folder, link.CertFile))
		if err != nil {
			t.Fatal(err)
		}
		_, second, _ := strings.Cut(string(raw), "-----END CERTIFICATE-----")
		return second
	}
	first := intermediate()
	for range 3 {
		if err := h.authority.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h.stop() // and the control plane is another process by now
	h.start()
	h.good(folder)
	s := h.connect(folder, linktest.Open(t, t.TempDir()))
	s.up(t)
	h.renew(folder)
	h.good(folder)
	if intermediate() == first {
		t.Error("the renewed certificate is signed by the old intermediate")
	}
}

func TestAnExpiredCertificateNeedsANewToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 2*time.Second)
	folder := h.enroll(h.add(here))
	linktest.Eventually(t, "the certificate has expired", func() bool {
		_, err := enrol.Renew(t.Context(), enrol.Contact{Address: "127.0.0.1:1"}, folder)
		return fault.Is(err, fault.KindPrecondition) && strings.Contains(err.Error(), "biplane planes token here")
	})
	h.refused(folder)
	if s := h.standing(); s.State != identity.Expired {
		t.Errorf("standing %+v", s)
	}
	if _, err := enrol.Enroll(t.Context(), h.contact(), h.invite(here), folder); err != nil {
		t.Fatal(err)
	}
	h.good(folder)
}

func TestARunningPlaneKeepsItsCertificate(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4*time.Second)
	folder := h.enroll(h.add(here))
	began, err := enrol.Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	renewed := make(chan enrol.Identity, 100)
	go func() {
		defer close(done)
		enrol.Keep(ctx, enrol.KeepConfig{Folder: folder, Where: func() (enrol.Contact, error) { return h.contact(), nil }, Log: slog.New(slog.DiscardHandler),
			Status: func(got enrol.Identity, err error) {
				if err == nil {
					renewed <- got
				}
			}})
	}()
	for range 2 {
		select {
		case got := <-renewed:
			if got.Leaf.SerialNumber.Cmp(began.Leaf.SerialNumber) == 0 || got.Expires.Before(began.Expires) || time.Now().After(began.Expires) {
				t.Errorf("renewed until %v at %v, before it was %v", got.Expires, time.Now(), began.Expires)
			}
			began = got
		case <-time.After(20 * time.Second):
			t.Fatal("the certificate was not renewed")
		}
	}
	cancel()
	<-done
	h.good(folder)
}
