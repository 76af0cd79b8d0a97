// Package link is the one way between the planes: the data plane dials out, the newest states of its rows go up, commands
// come down. It is the only package, beside small leaves, that both planes import.
//
// The data plane calls Run with a Source (its own tables, read by change sequence) and a Sink (what applies commands); the
// control plane mounts a Server on a Control (its ledger). Both directions are numbered and have a cursor that is
// stored in the same transaction as what it counts, so everything may be sent again and is applied once. There is no log of
// events: an event is the newest state of a row, so a row that changed ten times while the link was away is sent
// once, and the spool is the plane's tables.
//
// What may cross is decided by the class on every field of biplane.link.v1; Scrub clears, at both ends, values that do
// not look like their class. The package must never import a package of content, and never hold up the engine: it only reads
// what has been committed, when it has room.
package link
