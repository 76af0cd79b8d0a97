// Package plane composes the control plane: its database, the port where planes enrol and connect, the operator's API. The command biplane-control
// and end-to-end tests start it; it holds no logic of its own.
package plane
