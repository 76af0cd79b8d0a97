// Package relay carries clients' connections to planes that accept nothing inbound: through the sessions that planes have
// dialled to this replica of the control plane, or through another replica that has one.
//
// The door gives it every connection whose server name is not the control plane's, and the sessions and peers that
// ask for their protocols. Names are <plane>.<org>.<zone>, <org>.<zone> for any healthy plane of the organisation,
// and what was registered.
//
// It passes on ciphertext: it must never hold a key of a front door, look into what it copies, or log any of it. A connection
// is either carried, or refused for a reason that is counted; nothing waits without a limit.
package relay
