package frontdoor_test

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"crypto/x509"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// A pebble is Let's Encrypt's test server, in this process: it validates for real, over the network.
type pebble struct {
	directory string         // its URL
	caFile    string         // authorities of its own HTTPS
	roots     *x509.CertPool // of what it issues
	away      atomic.Bool    // it refuses everything while this is set
	requests  atomic.Int64   // that it got
}

type pebbleConfig struct {
	tlsPort  int    // where every name's connections go to
	validity uint64 // of certificates, in seconds; 0 is 90 days
	// keyID and macKey are of the external account that it wants; empty wants none. The MAC key is base64url.
	keyID, macKey string
}

func startPebble(t *testing.T, c pebbleConfig) *pebble {
	t.Helper()
	p := &pebble{}
	logger := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	if c.keyID != "" {
		if err := store.AddExternalAccountKeyByID(c.keyID, c.macKey); err != nil {
			t.Fatal(err)
		}
	}
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: c.validity}})
	validator := va.New(logger, 0, c.tlsPort, false, nameServer(t), store)
	front := wfe.New(logger, store, validator, authority, []string{"pebble.example"}, false, c.keyID != "", 0, 0)
	handler := front.Handler()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		if p.away.Load() {
			http.Error(w, "away", http.StatusForbidden) // which clients do not try again at once
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.directory = server.URL + wfe.DirectoryPath
	p.caFile = filepath.Join(t.TempDir(), "acme-ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(p.caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.roots = x509.NewCertPool()
	root, err := x509.ParseCertificate(authority.GetRootCert(0).DER)
	if err != nil {
		t.Fatal(err)
	}
	p.roots.AddCert(root)
	return p
}

// nameServer answers 127.0.0.1 for every name, over TCP, and is the address of itself.
func nameServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Net: "tcp", Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		answer := new(dns.Msg)
		answer.SetReply(question)
		for _, q := range question.Question {
			if q.Qtype == dns.TypeA {
				answer.Answer = append(answer.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
				})
			}
		}
		_ = w.WriteMsg(answer)
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.ActivateAndServe() })
	<-started
	t.Cleanup(func() {
		_ = server.ShutdownContext(context.Background())
		serving.Wait()
	})
	return listener.Addr().String()
}
