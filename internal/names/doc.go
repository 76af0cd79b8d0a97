// Package names holds the identifiers of the house, and the one place that decides which strings may be one.
//
// Every part uses it: a name that went through here can be a path segment, an object key, a row key and a label without
// escaping. It never does I/O and imports nothing of ours but fault.
package names
