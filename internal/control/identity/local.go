package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/store"
)

// EnsurePlane enrols a plane of the same machine, whose folder of TLS files this process may write, without a token. What is
// there stays when it is good and in the first half of its life. also runs in the transaction that registers the plane, when it is
// new. It is for the demo and for tests: elsewhere nobody but the plane writes its folder.
func (a *Authority) EnsurePlane(ctx context.Context, plane link.Plane, folder string, also func(store.WriteTx) error) error {
	if a.serves(ctx, plane, folder) {
		return nil
	}
	err := a.change(ctx, func(c *change) error {
		if err := c.add(plane, "this machine"); fault.Is(err, fault.KindExists) {
			return nil
		} else if err != nil {
			return err
		}
		return also(c)
	})
	if err != nil {
		return err
	}
	key, err := enrol.NextKey(folder)
	if err != nil {
		return err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return fmt.Errorf("make a certificate request: %w", err)
	}
	token, _, err := a.Invite(ctx, plane, 0, "this machine")
	if err != nil {
		return err
	}
	_, chain, err := a.enroll(ctx, token, request, "this machine")
	if err != nil {
		return err
	}
	_, err = enrol.Store(folder, enrol.Credential{Chain: chain, Authorities: a.Bundle()})
	return err
}

// serves says whether the folder's files are what the plane needs.
func (a *Authority) serves(ctx context.Context, plane link.Plane, folder string) bool {
	if _, err := link.ClientTLS(folder); err != nil {
		return false
	}
	have, err := enrol.Read(folder)
	if err != nil || have.Plane != plane || a.half(have.Leaf) {
		return false
	}
	at, ours := placeOf(have.Leaf.SerialNumber)
	var r register
	err = a.db.Read(ctx, func(tx store.Tx) error { r, err = load(tx, plane); return err })
	if err != nil || !ours {
		return false
	}
	verdict := r.judge(at, sha256.Sum256(have.Leaf.Raw))
	return verdict == good || verdict == first
}
