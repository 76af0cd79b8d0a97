package taskspec

import (
	"fmt"
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/internal/fault"
)

// checkProcess refuses arguments and variables that no system hands to a process as they are.
func checkProcess(field string, container *core.Container) error {
	for name, list := range map[string][]string{"command": container.GetCommand(), "args": container.GetArgs()} {
		for i, argument := range list {
			if strings.ContainsRune(argument, 0) {
				return fault.Invalid(fmt.Sprintf("%s.%s[%d]", field, name, i), "holds a NUL character")
			}
		}
	}
	return checkVariables(field+".env", container.GetEnv())
}

// checkVariables accepts what can be an environment variable. A name with a '=' would set another variable, and so could replace
// one that says which attempt this is.
func checkVariables(field string, variables []*core.KeyValuePair) error {
	for i, pair := range variables {
		at := fmt.Sprintf("%s[%d]", field, i)
		if pair.GetKey() == "" || strings.ContainsAny(pair.GetKey(), "=\x00") {
			return fault.Invalid(at+".key", "%.64q is not the name of an environment variable", pair.GetKey())
		}
		if strings.ContainsRune(pair.GetValue(), 0) {
			return fault.Invalid(at+".value", "the value of %.64q holds a NUL character", pair.GetKey())
		}
	}
	return nil
}
