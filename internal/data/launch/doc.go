// Package launch turns an admitted attempt into a command, and what the command leaves behind into an outcome.
//
// It is the engine shell's World for tasks that need a process: it finds the specification and the run's settings, the environment
// that the image stands for, and the secrets; it renders the argv that the SDK wrote, and hands all that to the executor.
// When the processes have gone it reads error.pb and outputs.pb and tells the engine.
//
// It never decides about retries, and never writes a secret anywhere.
package launch
