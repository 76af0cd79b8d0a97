// Package projection turns what data planes report into the control plane's tables: it is the link.Control of the control
// plane.
//
// One batch of events is one transaction, together with the plane's cursor. It keeps, per plane, the life in which the cursor
// was acknowledged, and so notices a plane whose database was put back: then a new timeline begins, everything is asked
// for again, and what is not mentioned any more is removed. It decides nothing else.
package projection
