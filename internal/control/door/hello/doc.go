// Package hello reads the first message of a TLS connection, the ClientHello, without being a side of the connection: it
// takes the bytes that the message needs and no more, says which name and which protocols are asked for, and keeps the
// bytes so that whoever gets the connection can be given them again.
//
// The door calls it for every connection, before anything is known of the client. So it is bounded in bytes and in time,
// and it must never write, decrypt, or hold a key. Parse is pure; a fuzz test compares it with crypto/tls.
//
// Encrypted ClientHello: what is seen is the outer message, and the outer name is the one that counts, whether the
// extension is real or only there to look so (GREASE). Nothing of it is changed, so a front door that has published keys
// still finds the inner message.
package hello
