package enrol

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"

	"biplane.dev/biplane/internal/fault"
)

// tokenKind begins every token, so that people and scanners for secrets know what it is.
const tokenKind = "biplane-plane"

// Fingerprint is the SHA-256 of a certificate.
type Fingerprint [sha256.Size]byte

// FingerprintOf is the certificate's.
func FingerprintOf(certificate *x509.Certificate) Fingerprint { return sha256.Sum256(certificate.Raw) }

func (f Fingerprint) String() string { return base64.RawURLEncoding.EncodeToString(f[:]) }

// Token lets its bearer enrol once. It names the authority of the control plane that made it, so that a plane which has
// never seen that control plane knows it from an impostor before it says anything.
type Token struct {
	ID     string // may be logged
	Secret string
	Anchor Fingerprint // of the root certificate
}

// NewToken makes a token with a secret of 130 bits.
func NewToken(anchor Fingerprint) Token {
	return Token{ID: strings.ToLower(rand.Text()[:12]), Secret: strings.ToLower(rand.Text()), Anchor: anchor}
}

// String is for logs: it leaves the secret out.
func (t Token) String() string { return tokenKind + "." + t.ID + ".(secret)" }

// GoString leaves the secret out, too.
func (t Token) GoString() string { return t.String() }

// Text is the whole token, for the one who will bear it.
func (t Token) Text() string {
	return strings.Join([]string{tokenKind, t.ID, t.Secret, t.Anchor.String()}, ".")
}

// ParseToken reads what Text wrote; spaces and line ends around it are let pass. Its errors never repeat what was given.
func ParseToken(text string) (Token, error) {
	const advice = "a token is the one line that biplane planes add printed, beginning with " + tokenKind + "."
	parts := strings.Split(strings.TrimSpace(text), ".")
	switch {
	case strings.TrimSpace(text) == "":
		return Token{}, fault.Invalid("token", "is empty; %s", advice)
	case len(text) > 512 || len(parts) != 4 || parts[0] != tokenKind:
		return Token{}, fault.Invalid("token", "is not an enrolment token; %s", advice)
	}
	anchor, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	if err != nil || len(anchor) != sha256.Size || !word(parts[1], 12) || !word(parts[2], 26) {
		return Token{}, fault.Invalid("token", "is cut off or mistyped; %s", advice)
	}
	return Token{ID: parts[1], Secret: parts[2], Anchor: Fingerprint(anchor)}, nil
}

func word(s string, length int) bool {
	return len(s) == length && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
