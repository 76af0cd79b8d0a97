//go:build !linux

package executor

import "errors"

// DelegatedCgroup says that there are no control groups here.
func DelegatedCgroup() (string, error) {
	return "", errors.New("control groups exist on Linux only")
}
