// Package tether ties the lives of processes together: child processes that do not outlive this one, even when it is killed
// (Run), and an orderly end of this one when its starter goes or asks for it (Stopped).
//
// The demo runs its first program with Run and the image builder its commands. The planes stop with Stopped, which listens to
// the pipe of their flag --lifeline. Where the kernel has no such service (not Linux) a child of Run whose parent was killed
// goes on until it ends by itself.
package tether
