// Package frontdoor ends the TLS of a plane's clients, with a key that never leaves the plane.
//
// A Door makes a listener of another: of the streams that come through the relay (tunnel.Listener), or of a TCP port of
// the plane's own in direct mode. What it accepts is a *tls.Conn whose handshake is done, which internal/rpc serves as
// HTTP/2 or HTTP/1.1. Handshakes are bounded in number and time: one too many takes the place of the one that has been
// going on for longest, so that peers that say nothing keep nobody out.
//
// Where certificates come from is a Source: Files that somebody else keeps (cert-manager), ACME with TLS-ALPN-01, which is
// answered on the very same listener and so works through the relay, or the Local authority of a demo. All three pass
// one conformance suite. A handshake is answered from memory and never waits for a source; a source that cannot renew goes on
// with what it has, tries again later, and says so in its Status.
//
// The data plane makes one Door. The package must never log a key, hand one out other than inside a tls.Certificate, write
// one with a mode other than 0600, or send one anywhere.
package frontdoor
