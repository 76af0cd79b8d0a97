package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	enrollv1 "biplane.dev/biplane/gen/biplane/enroll/v1"
	"biplane.dev/biplane/gen/biplane/enroll/v1/enrollv1connect"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/store"
)

// Describe tells what the fleet knows of a plane, for its credential.
type Describe func(ctx context.Context, plane link.Plane) (pool string, frontDoors []string, err error)

// Service is the EnrollService.
type Service struct {
	authority *Authority
	describe  Describe
}

var _ enrollv1connect.EnrollServiceHandler = (*Service)(nil)

// NewHandler makes the enrolment service; its results go to rpc.Server.Handle. It must be behind TLS with ServerTLS: without, every
// call is refused.
func NewHandler(a *Authority, describe Describe, options ...connect.HandlerOption) (string, http.Handler) {
	path, handler := enrollv1connect.NewEnrollServiceHandler(&Service{authority: a, describe: describe}, options...)
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			http.Error(w, "enrolment is served over TLS only", http.StatusForbidden)
			return
		}
		c := caller{address: r.RemoteAddr}
		if len(r.TLS.VerifiedChains) > 0 {
			c.certificate = r.TLS.VerifiedChains[0][0]
		}
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

type callerKey struct{}

// caller is who made the request.
type caller struct {
	address     string
	certificate *x509.Certificate // nil when none was shown
}

// GetBundle implements EnrollService.
func (s *Service) GetBundle(context.Context, *enrollv1.GetBundleRequest) (*enrollv1.GetBundleResponse, error) {
	return &enrollv1.GetBundleResponse{Authorities: s.authority.Bundle()}, nil
}

// Enroll implements EnrollService.
func (s *Service) Enroll(ctx context.Context, request *enrollv1.EnrollRequest) (*enrollv1.EnrollResponse, error) {
	token, err := enrol.ParseToken(request.GetToken())
	if err != nil {
		return nil, err
	}
	who, _ := ctx.Value(callerKey{}).(caller)
	plane, chain, err := s.authority.enroll(ctx, token, request.GetCertificateRequest(), who.address)
	if err != nil {
		return nil, err
	}
	credential, err := s.credential(ctx, plane, chain)
	return &enrollv1.EnrollResponse{Credential: credential}, err
}

// Renew implements EnrollService.
func (s *Service) Renew(ctx context.Context, request *enrollv1.RenewRequest) (*enrollv1.RenewResponse, error) {
	who, _ := ctx.Value(callerKey{}).(caller)
	if who.certificate == nil {
		return nil, fault.New(fault.KindDenied, "only a plane with a client certificate can renew it; to get the first one, enrol with a token: biplane-data enroll")
	}
	plane, chain, err := s.authority.renew(ctx, who.certificate, request.GetCertificateRequest(), who.address)
	if err != nil {
		return nil, err
	}
	credential, err := s.credential(ctx, plane, chain)
	return &enrollv1.RenewResponse{Credential: credential}, err
}

func (s *Service) credential(ctx context.Context, plane link.Plane, chain [][]byte) (*enrollv1.Credential, error) {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	c := &enrollv1.Credential{Chain: chain, Authorities: s.authority.Bundle(), Org: plane.Org, Plane: plane.Name, Expires: timestamppb.New(leaf.NotAfter)}
	c.Pool, c.FrontDoors, err = s.describe(ctx, plane)
	return c, err
}

// wrongToken does not tell a guess from a token that is forgotten.
var wrongToken = fault.New(fault.KindDenied, "the token is not one of this control plane's, or it is long over; biplane planes token NAME makes a new one")

// enroll uses a token.
func (a *Authority) enroll(ctx context.Context, token enrol.Token, request []byte, from string) (plane link.Plane, chain [][]byte, err error) {
	public, key, err := publicKey(request)
	if err != nil {
		return plane, nil, err
	}
	signer, err := a.signer(ctx) // before the transaction: it may write
	if err != nil {
		return plane, nil, err
	}
	given := sha256.Sum256([]byte(token.Secret))
	var refusal error
	var again bool
	err = a.change(ctx, func(c *change) error {
		refusal, again = nil, false
		var secret, usedKey []byte
		var expires, withdrawn, used int64
		err := c.QueryRow(`SELECT org, plane, secret_hash, expires_us, withdrawn_us, used_us, used_key FROM tokens WHERE id = ?`, token.ID).
			Scan(&plane.Org, &plane.Name, &secret, &expires, &withdrawn, &used, &usedKey)
		if errors.Is(err, store.ErrNoRows) {
			a.config.Log.Warn("identity: an unknown token was refused", "token", token.ID, "by", from)
			refusal = wrongToken
			return nil
		}
		if err != nil {
			return err
		}
		refuse := func(what, format string, args ...any) error {
			c.note(plane, what, from, "token "+token.ID)
			refusal = fault.New(fault.KindDenied, format, args...)
			return nil
		}
		r, err := load(c, plane)
		if err != nil {
			return err
		}
		late := c.at.UnixMicro() >= expires
		switch {
		case subtle.ConstantTimeCompare(secret, given[:]) != 1:
			if a.due(plane, EventTokenWrong) {
				c.note(plane, EventTokenWrong, from, "token "+token.ID)
			}
			refusal = wrongToken
			return nil
		case used > 0 && subtle.ConstantTimeCompare(usedKey, key[:]) == 1 && key == r.key && r.step == 0 && !r.removed && !late:
			again = true // the answer was lost
			chain, err = a.answered(c, plane)
			return err
		case used > 0:
			return refuse(EventTokenUsed, "this token was used already, at %s; a token is good for one enrolment. If that was not you, somebody else has it: "+
				"biplane planes token %s makes a new one, and enrolling with that ends the other's identity", time.UnixMicro(used).UTC().Format(time.RFC3339), plane.Name)
		case withdrawn > 0 || r.removed:
			return refuse(EventTokenVoid, "this token was withdrawn: a newer one was made for data plane %q, or it was removed", plane.Name)
		case late:
			return refuse(EventTokenLate, "this token expired at %s; biplane planes token %s makes a new one", time.UnixMicro(expires).UTC().Format(time.RFC3339), plane.Name)
		}
		at := place{generation: next(r.generation, c.at)}
		if chain, err = a.sign(c, signer, plane, at, public, key, hash{}); err != nil {
			return err
		}
		c.note(plane, EventEnrolled, from, fmt.Sprintf("token %s, generation %d", token.ID, at.generation))
		if _, err := c.Exec(`UPDATE identities SET copied_us = 0 WHERE org = ? AND name = ?`, plane.Org, plane.Name); err != nil {
			return err
		}
		_, err = c.Exec(`UPDATE tokens SET used_us = ?, used_key = ? WHERE id = ?`, c.at.UnixMicro(), key[:], token.ID)
		return err
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return plane, nil, err
	}
	if !again {
		a.tell(&a.removed, plane) // whoever holds an earlier certificate
	}
	return plane, chain, nil
}

// renew makes the next certificate of the chain that the certificate is of.
func (a *Authority) renew(ctx context.Context, certificate *x509.Certificate, request []byte, from string) (link.Plane, [][]byte, error) {
	// The connection may be older than the latest change.
	plane, err := a.VerifyPlane(ctx, certificate, from)
	if err != nil {
		return plane, nil, err
	}
	public, key, err := publicKey(request)
	if err != nil {
		return plane, nil, err
	}
	signer, err := a.signer(ctx)
	if err != nil {
		return plane, nil, err
	}
	at, _ := placeOf(certificate.SerialNumber)
	print := hash(sha256.Sum256(certificate.Raw))
	var chain [][]byte
	var refusal error
	err = a.change(ctx, func(c *change) error {
		refusal = nil
		r, err := load(c, plane)
		if err != nil {
			return err
		}
		if v := r.judge(at, print); v != good {
			refusal = a.refuse(c, plane, v, at, r, from)
			return nil
		}
		switch r.renew(print, key) {
		case repeat:
			chain, err = a.answered(c, plane)
			return err
		case fork:
			refusal = fault.New(fault.KindDenied, "the identity of data plane %q was renewed with another key a moment ago: it is in use at another place. "+
				"If this is the right place, make a token with biplane planes token %s and enrol with it", plane.Name, plane.Name)
			return a.copied(c, plane, from, fmt.Sprintf("step %d was renewed with two keys", at.step))
		}
		c.note(plane, EventRenewed, from, fmt.Sprintf("step %d", r.step+1))
		chain, err = a.sign(c, signer, plane, place{r.generation, r.step + 1}, public, key, r.current)
		return err
	})
	if err == nil {
		err = refusal
	}
	return plane, chain, err
}

// answered is the newest certificate as it was handed out.
func (a *Authority) answered(tx store.Tx, plane link.Plane) ([][]byte, error) {
	var joined []byte
	if err := tx.QueryRow(`SELECT current_chain FROM identities WHERE org = ? AND name = ?`, plane.Org, plane.Name).Scan(&joined); err != nil {
		return nil, err
	}
	certificates, err := x509.ParseCertificates(joined)
	if err != nil || len(certificates) == 0 {
		return nil, fmt.Errorf("the certificate of plane %s cannot be read again: %w", plane, err)
	}
	var chain [][]byte
	for _, certificate := range certificates {
		chain = append(chain, certificate.Raw)
	}
	return chain, nil
}

// sign makes a plane's certificate and puts it into the register as the newest.
func (a *Authority) sign(c *change, by *signer, plane link.Plane, at place, public any, key, previous hash) ([][]byte, error) {
	template, err := a.template(plane.Name, c.at.Add(a.config.PlaneLife))
	if err != nil {
		return nil, err
	}
	var random [8]byte
	rand.Read(random[:])
	template.SerialNumber = at.serial(random)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.URIs = []*url.URL{plane.URI()}
	chain, err := by.issue(template, public)
	if err != nil {
		return nil, err
	}
	print := sha256.Sum256(chain[0])
	var before []byte
	if (previous != hash{}) {
		before = previous[:]
	}
	_, err = c.Exec(`UPDATE identities SET generation = ?, step = ?, current_print = ?, current_key = ?, current_chain = ?, previous_print = ?, confirmed_us = 0, expires_us = ?
		WHERE org = ? AND name = ?`, int64(at.generation), int64(at.step), print[:], key[:], append(append([]byte(nil), chain[0]...), chain[1]...), before, template.NotAfter.UnixMicro(), plane.Org, plane.Name)
	return chain, err
}
