// Package catalog is the control plane's list of names: projects, tasks and triggers, as the data planes report them.
//
// The projection writes it. What a name stands for (a spec, default inputs, a schedule's arguments) stays in the data plane and
// must never come here.
package catalog
