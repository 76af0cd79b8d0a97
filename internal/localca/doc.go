// Package localca is a certificate authority in a folder: what one machine needs for mutual TLS between its own planes.
//
// `biplane demo` and tests call it. It is no authority for an installation: nothing enrols, revokes or rotates here. A key
// is written with mode 0600, is never logged, and never leaves its folder but as a file beside its certificate.
package localca
