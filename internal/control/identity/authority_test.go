package identity_test

import (
	"crypto/tls"
	"io"
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
	"biplane.dev/biplane/internal/store"
)

func open(t *testing.T) store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"), identity.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func config(t *testing.T) identity.Config {
	t.Helper()
	return identity.Config{Hosts: []string{"127.0.0.1"}, KeyFile: filepath.Join(t.TempDir(), "authority.key"), Log: slog.New(slog.DiscardHandler)}
}

func TestTheKeyFileProtectsTheAuthority(t *testing.T) {
	t.Parallel()
	db, c := open(t), config(t)
	a, err := identity.Open(t.Context(), db, c)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(c.KeyFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v %v", info, err)
	}
	again, err := identity.Open(t.Context(), db, c)
	if err != nil || again.Anchor() != a.Anchor() {
		t.Fatalf("the second start: %v", err)
	}
	passphrase := c
	passphrase.Passphrase = "x"
	missing := c
	missing.KeyFile += ".missing"
	other := config(t)
	if _, err := identity.Open(t.Context(), open(t), other); err != nil {
		t.Fatal(err)
	}
	wide := c
	wide.KeyFile += ".wide"
	raw, err := os.ReadFile(c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wide.KeyFile, raw, 0o640); err != nil {
		t.Fatal(err)
	}
	for words, c := range map[string]identity.Config{"is missing": missing, "cannot be decrypted": other, "without a passphrase": passphrase, "others may read it": wide} {
		if _, err := identity.Open(t.Context(), db, c); !fault.Is(err, fault.KindPrecondition) || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
	if _, err := os.Stat(missing.KeyFile); err == nil {
		t.Error("a missing key file was made anew")
	}
}

func TestAPassphraseProtectsTheAuthority(t *testing.T) {
	t.Parallel()
	db, c := open(t), config(t)
	c.Passphrase = "correct horse"
	a, err := identity.Open(t.Context(), db, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.KeyFile); err == nil {
		t.Error("there is a key file though a passphrase was given")
	}
	if again, err := identity.Open(t.Context(), db, c); err != nil || again.Anchor() != a.Anchor() {
		t.Errorf("the second start: %v", err)
	}
	wrong, none := c, c
	wrong.Passphrase, none.Passphrase = "wrong horse", ""
	for words, c := range map[string]identity.Config{"cannot be decrypted": wrong, "is missing": none} {
		if _, err := identity.Open(t.Context(), db, c); !fault.Is(err, fault.KindPrecondition) || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
}

func TestAuthoritiesAreSealedWithTheirCertificates(t *testing.T) {
	t.Parallel()
	db, c := open(t), config(t)
	if _, err := identity.Open(t.Context(), db, c); err != nil {
		t.Fatal(err)
	}
	// The root's key, put in the intermediate's place.
	err := db.Write(t.Context(), func(tx store.WriteTx) error {
		_, err := tx.Exec(`UPDATE authorities SET sealed_key = (SELECT sealed_key FROM authorities WHERE number = 0)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Open(t.Context(), db, c); err == nil {
		t.Error("a key opened with another certificate")
	}
}

func TestTheIntermediateIsReplacedInTime(t *testing.T) {
	t.Parallel()
	db, c := open(t), config(t)
	now := time.Now()
	c.Now, c.IntermediateLife = func() time.Time { return now }, 10*24*time.Hour
	a, err := identity.Open(t.Context(), db, c)
	if err != nil {
		t.Fatal(err)
	}
	newest := func() (number int64) {
		t.Helper()
		err := db.Read(t.Context(), func(tx store.Tx) error { return tx.QueryRow(`SELECT MAX(number) FROM authorities`).Scan(&number) })
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	plane := link.Plane{Org: "local", Name: "here"}
	ensure := func(a *identity.Authority, folder string) enrol.Identity {
		t.Helper()
		if err := a.EnsurePlane(t.Context(), plane, folder, func(store.WriteTx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		got, err := enrol.Read(folder)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	ensure(a, t.TempDir())
	if n := newest(); n != 1 {
		t.Errorf("intermediate %d at the beginning", n)
	}
	for day := range 40 {
		now = now.Add(24 * time.Hour)
		if got := ensure(a, t.TempDir()); got.Expires.Sub(now) < 23*time.Hour {
			t.Fatalf("on day %d a certificate is good until %v: the intermediate is too old", day, got.Expires)
		}
	}
	if n := newest(); n < 7 || n > 10 {
		t.Errorf("intermediate %d after 40 days, want one every five days", n)
	}
	// Another process takes what is there, and the dead ones are gone.
	before := newest()
	if _, err := identity.Open(t.Context(), db, c); err != nil {
		t.Fatal(err)
	}
	if n := newest(); n != before {
		t.Errorf("a second process made intermediate %d", n)
	}
	var rows int
	if err := db.Read(t.Context(), func(tx store.Tx) error { return tx.QueryRow(`SELECT COUNT(*) FROM authorities`).Scan(&rows) }); err != nil || rows > 4 {
		t.Errorf("%d authorities are kept, err %v", rows, err)
	}
}

func TestALocalPlaneIsEnsuredOnce(t *testing.T) {
	t.Parallel()
	db, c := open(t), config(t)
	now := time.Now()
	c.Now = func() time.Time { return now }
	a, err := identity.Open(t.Context(), db, c)
	if err != nil {
		t.Fatal(err)
	}
	folder, registered := filepath.Join(t.TempDir(), "tls"), 0
	ensure := func(name string) string {
		t.Helper()
		err := a.EnsurePlane(t.Context(), link.Plane{Org: "local", Name: name}, folder, func(store.WriteTx) error { registered++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(folder, link.CertFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	first := ensure("here")
	if ensure("here") != first {
		t.Error("a good certificate was replaced")
	}
	now = now.Add(13 * time.Hour)
	second := ensure("here")
	if second == first {
		t.Error("a certificate past half of its life was kept")
	}
	if err := os.WriteFile(filepath.Join(folder, link.KeyFile), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ensure("here") == second {
		t.Error("a torn key was kept")
	}
	if registered != 1 {
		t.Errorf("registered %d times", registered)
	}
	ensure("there")
	if have, err := enrol.Read(folder); err != nil || have.Plane.Name != "there" || registered != 2 {
		t.Errorf("plane %v, err %v, registered %d", have.Plane, err, registered)
	}
}

func TestReplicasKnowEachOther(t *testing.T) {
	t.Parallel()
	db, c := open(t), config(t)
	a, err := identity.Open(t.Context(), db, c)
	if err != nil {
		t.Fatal(err)
	}
	// Another process on the same database.
	b, err := identity.Open(t.Context(), db, c)
	if err != nil {
		t.Fatal(err)
	}
	one, err := a.Replica("one")
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.Replica("two")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := a.EnsurePlane(t.Context(), link.Plane{Org: "local", Name: "here"}, folder, func(store.WriteTx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	plane, err := link.ClientTLS(folder)
	if err != nil {
		t.Fatal(err)
	}
	plane = plane.Clone()
	plane.InsecureSkipVerify = true // that a replica has no host name must not be what refuses it
	for name, c := range map[string]struct {
		server, client *tls.Config
		good           bool
	}{
		"a replica at a replica":             {one.ServerTLS(), two.ClientTLS(), true},
		"a plane at a replica":               {one.ServerTLS(), plane, false},
		"nobody at a replica":                {one.ServerTLS(), &tls.Config{InsecureSkipVerify: true}, false},
		"a replica at the port for planes":   {a.ServerTLS(), two.ClientTLS(), false},
		"a replica where only planes may be": {a.PlaneTLS(), two.ClientTLS(), false},
	} {
		if err := meet(t, c.server, c.client); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.Replica("not a path"); err == nil {
		t.Error("a wrong name was taken")
	}
}

// meet has a client and a server exchange a byte.
func meet(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		_, err = conn.Write([]byte{1})
		served <- err
	}()
	client = client.Clone()
	client.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
		conn.Close()
	}
	if refusal := <-served; refusal != nil {
		return refusal
	}
	return err
}
