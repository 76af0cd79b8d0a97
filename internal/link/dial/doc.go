// Package dial makes the outward connections of a data plane: directly, or through the proxy that the environment names.
//
// The link, the tunnel and enrolment call it; there is no other way out of a plane's account to the control plane. What a proxy
// or a middlebox does to a connection comes back as an error that says what to do. A password never stands in an error or a
// log, and the package never weakens what TLS verifies: the authorities it adds are for proxies that speak TLS themselves.
package dial
