// Package circuit builds the two ways from a client to a front door that the tunnel's benchmark compares, in one process: TLS
// over TCP directly, and the same TLS through a relay and a tunnel session. A connection can be given a round-trip
// time. The benchmarks call it; it measures nothing.
package circuit
