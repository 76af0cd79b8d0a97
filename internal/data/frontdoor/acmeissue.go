package frontdoor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/acme"
)

// issue gets one certificate and keeps it.
func (a *ACME) issue(ctx context.Context, name string) (*tls.Certificate, error) {
	var who *account
	select {
	case who = <-a.accounts:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { a.accounts <- who }()
	if err := a.register(ctx, who); err != nil {
		return nil, err
	}
	pair, err := a.order(ctx, who.client, name)
	if err != nil {
		var refusal *acme.Error
		if errors.As(err, &refusal) && refusal.ProblemType == "urn:ietf:params:acme:error:accountDoesNotExist" {
			who.client = nil // a server that was set up anew; the next try registers there
		}
		return nil, err
	}
	if err := savePair(a.config.pairPath(name), pair); err != nil {
		// It is good all the same, and asking for another would use up what the authority allows.
		a.config.Log.Error("front door: the new certificate is served but cannot be kept; a restart will ask for another", "name", name, "error", err)
	}
	return pair, nil
}

func (a *ACME) order(ctx context.Context, client *acme.Client, name string) (*tls.Certificate, error) {
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(name))
	if err != nil {
		return nil, fmt.Errorf("order a certificate: %w", err)
	}
	for _, url := range order.AuthzURLs {
		if err := a.prove(ctx, client, name, url); err != nil {
			return nil, fmt.Errorf("prove that %s leads here: %w", name, err)
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("order a certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("get the certificate: %w", err)
	}
	pair, err := pairOf(chain, key, a.now())
	if err == nil {
		err = pair.Leaf.VerifyHostname(name)
	}
	if err != nil {
		return nil, fmt.Errorf("the authority gave a certificate that cannot be used: %w", err)
	}
	return pair, nil
}

// prove shows the authority that connections for the name come to this plane's door.
func (a *ACME) prove(ctx context.Context, client *acme.Client, name, url string) error {
	wanted, err := client.GetAuthorization(ctx, url)
	if err != nil || wanted.Status == acme.StatusValid {
		return err
	}
	for _, challenge := range wanted.Challenges {
		if challenge.Type != "tls-alpn-01" {
			continue
		}
		certificate, err := client.TLSALPN01ChallengeCert(challenge.Token, name)
		if err != nil {
			return err
		}
		a.setProof(name, &certificate)
		defer a.setProof(name, nil)
		if _, err := client.Accept(ctx, challenge); err != nil {
			return err
		}
		_, err = client.WaitAuthorization(ctx, wanted.URI)
		return err
	}
	return errors.New("the authority does not offer the TLS-ALPN-01 challenge for it")
}
