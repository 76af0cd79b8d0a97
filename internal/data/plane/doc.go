// Package plane puts the parts of a data plane together and runs them until it is told to stop.
//
// cmd/biplane-data calls it, and so do tests that want a whole plane in one process. What belongs to one part is not here.
package plane
