// Package tunnel carries the flows of clients from a relay of the control plane to a plane that accepts nothing inbound: the
// plane dials out, and the relay opens streams in that one connection.
//
// The plane calls Keep, which holds sessions up, and serves what comes out of a Listener. The relay makes a Session of each
// connection that a plane has dialled (Server, or Handler for the WebSocket fall-back) and calls Open for each client. A
// stream starts with a Meta (biplane.tunnel.v1) and is opaque after that: the package must never look into a
// stream's bytes, hold a key of a front door, or log what a stream carries.
//
// Sessions are multiplexed by go-yamux: its windows are per stream, so a reader who has stopped holds up nobody else. What
// it leaves to its user is done here: a stream whose write failed, or that stays half-closed, is reset at both ends;
// a flow that nobody takes up has a deadline; memory, streams and queues have limits. The package tunneltest says
// all of this as tests.
package tunnel
