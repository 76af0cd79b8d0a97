// Package gateway is the front door of a data plane for programs: the Flyte services that runs and actions need.
//
// It checks what comes in, turns it into the engine's inputs, and answers lists, details and watches from the journal.
// Services of other parts (projects, tasks, triggers, secrets, settings, images) are their own handlers; Mount puts all of
// them on one server.
//
// It keeps no state of its own and decides nothing about actions.
package gateway
