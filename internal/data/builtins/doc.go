// Package builtins carries out the task types that need no process: echo, and functions inside the plane such as the image
// builder. (A sleep is a timer of the engine.)
//
// It is part of the engine shell's World. A built-in that was under way when the plane ended is carried out again.
package builtins
