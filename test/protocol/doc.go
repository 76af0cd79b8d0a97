// Package protocol holds what we serve against the protocol that the stock SDK speaks.
//
// Its tests read the descriptors of the flyteidl2 package that is installed beside the SDK, and fail on any difference from
// our own in gen/flyteidl2, in either direction. The table in served.go says of every method of that package what becomes of a
// call; docs/protocol.md is written from it, and a running gateway can be held against it.
//
// Only tests use this package; nothing of the platform may import it.
package protocol
