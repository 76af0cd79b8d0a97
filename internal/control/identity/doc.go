// Package identity is the control plane's certificate authority, and the register of which plane holds which certificate.
//
// It keeps a root, which is what planes trust, and an intermediate, which signs and is replaced in good time. From the
// intermediate come the control plane's own server certificates, those of relay replicas among themselves, and the
// short-lived ones of data planes. The operator's API adds, invites and removes planes here; the enrolment service hands out
// certificates; whoever ends TLS for planes uses ServerTLS, which asks the register at every handshake.
//
// What protects what: the authorities' private keys are in the database, encrypted with AES-256-GCM under a key that is derived
// from the key file (mode 0600, beside the database) or from a passphrase that is nowhere on disk. A copy of the database
// alone signs nothing and holds no token: of those it has hashes. Who has the database and the key file has the authority. Server
// keys are in memory only. A plane's key never gets here.
//
// The rule for a certificate: each carries in its serial number the plane's generation, which rises with every enrolment and
// removal, and its step, which rises with every renewal. The newest of the newest generation is good. The one before it is
// good until the newest has been shown for the first time, so that a lost answer takes nobody's identity. All others are refused. So
// of two places with one identity the first that renews keeps it, and the second is refused and reported as a copy. One
// that is newer than anything in the register, and signed here, is believed: the database was put back to an older state.
// Before either renews, Guard tells two places apart on the link: who is there stays for as long as it speaks.
//
// The package must never log or store a token or a key in the clear, and never sign what a request asks for beyond its
// public key: names come from the register.
package identity
