//go:build !linux

package boundary

import "errors"

// Memory can be looked through on Linux only.
func (s *Searcher) Memory(int) (int64, error) {
	return 0, errors.New("the memory of a process can be looked through on Linux only")
}
