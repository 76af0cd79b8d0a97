// Package listing turns the list requests of the protocol into SQL: filters, one sort key, pages that stay stable while
// rows are added.
//
// Every list of the data plane's services uses it (projects, tasks, triggers, runs, actions). A list declares the closed
// set of fields that a request may name; a request can choose among them and nothing else, and every value that it sends
// travels as a placeholder. A page ends with an opaque token that holds the keys of its last row, so the next page starts
// after that row however many were inserted before it.
//
// The package knows SQL expressions and the request, never a table of its own. It writes the subset that SQLite and
// PostgreSQL share.
package listing
