package identity

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// VerifyPlane says whose certificate this is, and refuses one that is not good any more. The certificate must have been
// verified up to the root, as ServerTLS does; ServerTLS also calls VerifyPlane at every handshake. A session that lasts may ask
// again. from is the address that it came from, for the record.
func (a *Authority) VerifyPlane(ctx context.Context, certificate *x509.Certificate, from string) (link.Plane, error) {
	plane, err := link.PlaneOf(certificate)
	if err != nil {
		return link.Plane{}, fault.Wrap(err, fault.KindDenied, "%v", err)
	}
	at, ours := placeOf(certificate.SerialNumber)
	if !ours {
		return link.Plane{}, fault.New(fault.KindDenied, "the certificate of data plane %s was not made by enrolment", plane)
	}
	print := hash(sha256.Sum256(certificate.Raw))
	var r register
	err = a.db.Read(ctx, func(tx store.Tx) error {
		r, err = load(tx, plane)
		return err
	})
	if err != nil {
		return link.Plane{}, err
	}
	if r.judge(at, print) == good {
		return plane, nil
	}
	return plane, a.settle(ctx, plane, certificate, at, print, from)
}

// settle is VerifyPlane for what changes the register.
func (a *Authority) settle(ctx context.Context, plane link.Plane, certificate *x509.Certificate, at place, print hash, from string) error {
	var refusal error
	var replaced bool
	err := a.change(ctx, func(c *change) error {
		refusal, replaced = nil, false
		r, err := load(c, plane)
		if err != nil {
			return err
		}
		switch v := r.judge(at, print); v {
		case good:
		case first:
			replaced = r.previous != hash{}
			_, err = c.Exec(`UPDATE identities SET confirmed_us = ?, previous_print = NULL WHERE org = ? AND name = ?`, c.at.UnixMicro(), plane.Org, plane.Name)
		case newer:
			c.note(plane, EventPutBack, from, fmt.Sprintf("generation %d step %d is newer than %d step %d", at.generation, at.step, r.generation, r.step))
			key := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
			_, err = c.Exec(`UPDATE identities SET generation = ?, step = ?, current_print = ?, current_key = ?, current_chain = NULL, previous_print = NULL,
				confirmed_us = ?, expires_us = ? WHERE org = ? AND name = ?`,
				int64(at.generation), int64(at.step), print[:], key[:], c.at.UnixMicro(), certificate.NotAfter.UnixMicro(), plane.Org, plane.Name)
		default:
			refusal = a.refuse(c, plane, v, at, r, from)
		}
		return err
	})
	if err != nil {
		return err
	}
	if replaced {
		a.tell(&a.renewed, plane)
	}
	return refusal
}

// refuse words the refusal of a certificate, and notes it.
func (a *Authority) refuse(c *change, plane link.Plane, v verdict, at place, r register, from string) error {
	switch v {
	case removed:
		if a.due(plane, EventAfterRemove) {
			c.note(plane, EventAfterRemove, from, "")
		}
		return gone(plane)
	case outdated:
		if a.due(plane, EventOutdated) {
			c.note(plane, EventOutdated, from, fmt.Sprintf("generation %d, now %d", at.generation, r.generation))
		}
		return fault.New(fault.KindDenied, "data plane %q has enrolled anew since this certificate was made; this place must enrol with a new token: biplane planes token %s", plane.Name, plane.Name)
	default:
		detail := fmt.Sprintf("a certificate of step %d was shown, and step %d is in use", at.step, r.step)
		return errors.Join(a.copied(c, plane, from, detail), fault.New(fault.KindDenied,
			"the identity of data plane %q is in use at another place, which has renewed it; if this is the right place, make a token with biplane planes token %s and enrol with it: that ends the other's", plane.Name, plane.Name))
	}
}

// copied notes that a plane's identity is at two places.
func (a *Authority) copied(c *change, plane link.Plane, from, detail string) error {
	if !a.due(plane, EventCopied) {
		return nil
	}
	c.note(plane, EventCopied, from, detail)
	_, err := c.Exec(`UPDATE identities SET copied_us = ? WHERE org = ? AND name = ?`, c.at.UnixMicro(), plane.Org, plane.Name)
	return err
}
