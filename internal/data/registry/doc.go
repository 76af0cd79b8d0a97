// Package registry keeps the names of a data plane and what they stand for: projects, tasks with their versions and
// specs, triggers with their revisions, and settings.
//
// The gateway mounts its services (ProjectService, TaskService, TriggerService, SettingsService) and asks it, when a run
// is created, whether a project exists, what a task's spec is and which settings hold. The scheduler reads triggers from
// it. Rows carry a number of the store's change sequence, so that the link can tell the other plane what is new; specs,
// inputs and settings are content and stay here.
//
// It never starts a run, never reads the bucket, and never trusts the organisation that a client sends: every key begins
// with names.Org.
package registry
