// Package rpc is the one HTTP server of the house: everything that listens, in either plane, listens through it.
//
// One port speaks HTTP/1.1 and HTTP/2 (with or without TLS), and on it Connect, gRPC and gRPC-Web for the mounted services,
// standard gRPC health and reflection, /healthz, /readyz and /metrics. The server takes the caller's listener, so what
// brings the bytes (a loopback port, a TLS port, a tunnel) is not its business.
//
// The package keeps every promise that must hold for all requests alike, so that handlers need not think of it: bodies
// are bounded before and after inflation, requests, streams, connections and the memory held by bodies are bounded and
// answered with RESOURCE_EXHAUSTED beyond, no peer can hold a handler for ever by reading or writing slowly, faults become codes in
// one place, causes stay in the log, a panic ends one request, and a stream that the server ends says UNAVAILABLE.
//
// It is called by the composition of each plane (listener, mounts) and knows no service of ours. It must never import
// anything of ours but internal/fault, never compress or buffer a stream as a whole, and never log a body.
package rpc
