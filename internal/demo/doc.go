// Package demo runs both planes on one machine: two processes with separate folders, a link between them, a client config,
// and a first program through the stock SDK.
//
// cmd/biplane calls it. It starts the real binaries and knows them by their flags and files only; what they do is theirs.
// However it ends, nothing of it stays: the planes hold the other end of a pipe and stop when it closes.
package demo
