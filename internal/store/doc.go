// Package store is where a plane keeps rows: one interface over an SQL database, SQLite today.
//
// A part that keeps rows (the engine's journal, the registry of names, the ledger) owns its tables: it hands Open its
// migrations and writes its own SQL, in the subset that SQLite and PostgreSQL share, with '?' placeholders. The suite in
// storetest is what every implementation passes.
//
// The one idea beyond SQL is the change sequence: every write transaction may draw numbers from one rising counter
// (WriteTx.NextSeq) and put them on the rows it changes. A reader that remembers the last number it saw asks for the rows above it and
// gets the newest state of each changed row: watches and the link to the other plane are built on that, and need no
// second log of events.
package store
