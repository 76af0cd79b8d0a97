// Package boundary looks for content where none may be: it makes markers, and finds them in files, in the memory of processes
// and in recorded bytes, whatever form they have taken on the way.
//
// `biplane doctor boundary` calls it, against an operator's own installation, and so does the test of the promise that the
// control plane is blind. A search is only worth something if it would have found what was there: so every search looks for two
// markers at once, one that was put into content and must be nowhere, and one that was put into names and must be everywhere.
//
// The package must never decide that something is harmless: a hit of the content marker is a leak, wherever it is.
package boundary
