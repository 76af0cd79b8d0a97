//go:build !linux

package objects

import "os"

// openBelow opens a file for reading that lies below the folder of root.
func openBelow(root *os.Root, _ *os.File, name string, flags int) (*os.File, error) {
	return root.OpenFile(name, flags, 0)
}
