// Package journal keeps the rows of runs, actions and attempts: the truth that the engine's memory is made from.
//
// The engine's shell writes here, one transaction for everything that happened meanwhile; the gateway reads lists, details
// and watches; the link reads what changed. Every changed row carries a number of the store's change sequence, so a watch is a
// query for rows above the last number seen: a slow watcher slows nobody and misses no last state.
//
// It never decides what happens to an action.
package journal
