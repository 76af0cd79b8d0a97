// Package shell drives the engine: it collects what arrives, steps the pure state, commits everything in one transaction,
// then answers and carries out the effects.
//
// There is one loop per plane. While a commit is under way new inputs gather, so the batch grows with the load and at idle
// a single input is committed at once. When a commit fails nothing of the batch has happened: requests get an error, and the state
// is made anew from the journal, which derives the effects again.
//
// The gateway and the launcher call it; it calls the World. It decides nothing about actions.
package shell
