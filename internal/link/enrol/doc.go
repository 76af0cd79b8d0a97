// Package enrol is how a data plane gets its identity, and keeps it: it makes a key, has the control plane sign it for a
// one-time token, and later again and again under mutual TLS with what it has.
//
// `biplane-data enroll` calls Enroll once; a running plane calls Keep. The control plane uses the form of tokens and the
// writing of folders from here, so that both ends agree on them. A key is made in the folder that it stays in, with mode
// 0600; it is never sent, returned or logged, and neither is a token.
package enrol
