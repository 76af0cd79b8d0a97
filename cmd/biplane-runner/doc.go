// Command biplane-runner stands beside one attempt of a task; a data plane starts it. It has no use on a command line.
package main
