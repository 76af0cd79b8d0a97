package boundary

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// Processes lists the living processes that run the program and have argument among their arguments.
func Processes(program, argument string) (pids []int) {
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, entry := range entries {
		raw, err := os.ReadFile(entry)
		if err != nil {
			continue // it has ended
		}
		words := bytes.Split(bytes.TrimRight(raw, "\x00"), []byte{0})
		if filepath.Base(string(words[0])) != program {
			continue
		}
		for _, word := range words[1:] {
			if string(word) == argument {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
				if err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}
