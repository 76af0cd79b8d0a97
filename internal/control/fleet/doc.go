// Package fleet knows the data planes: who they are, how they feel, whether they report, and which commands wait for them.
//
// The projection tells it what planes say; the operator's API reads it and queues commands. A plane that is away is "not
// reporting since …": fleet never concludes anything about the plane's work from its silence.
package fleet
