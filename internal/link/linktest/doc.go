// Package linktest is for tests of the link: a small data plane on a real database, and a proxy that cuts and stalls
// connections by a seed. Nothing but tests imports it.
package linktest
