// Package recent keeps what was read and parsed a moment ago, so that a burst of requests about one thing reads it once.
//
// It is for values that never change under their key. Any part may use it; it imports nothing.
package recent
