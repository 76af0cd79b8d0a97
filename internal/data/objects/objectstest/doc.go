// Package objectstest is what every implementation of objects.Bucket passes.
//
// The tests of an implementation call Run. It never uses more than what the interface promises.
package objectstest
