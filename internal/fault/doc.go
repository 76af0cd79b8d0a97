// Package fault is the vocabulary of errors that reach a user: what is wrong, where, what to do next, and one code.
//
// Everything that answers a request returns one of these (or wraps one); internal/rpc maps kinds to Connect codes in one
// place. The cause of a fault is for the log of the plane that made it and is never sent.
package fault
