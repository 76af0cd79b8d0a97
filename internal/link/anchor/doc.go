// Package anchor is what a data plane's database remembers of the link: its own lives, and the number of the last command
// that was applied. The data plane opens it on its database beside its other tables; nothing else uses it.
//
// Lives are how a database that was put back to an older state is told from one that went on. Every start writes a new
// random life together with the head of the change sequence. The control plane keeps the life in which its cursor was
// acknowledged: when that life is missing, or ended below the cursor, the plane's history is another one.
package anchor
