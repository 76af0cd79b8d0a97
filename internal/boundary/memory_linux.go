package boundary

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory looks through everything that a living process has in its memory, and returns how many bytes that was. It needs the
// rights of a debugger on the process: the same user, and a kernel that allows it (kernel.yama.ptrace_scope), or root.
func (s *Searcher) Memory(pid int) (bytes int64, err error) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	defer maps.Close()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d cannot be read: %w; run as its user or as root", pid, err)
	}
	defer memory.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		region, ok := parseRegion(lines.Text())
		if !ok {
			continue
		}
		// A region may go between the two reads, and some of the kernel's cannot be read.
		if s.Search(fmt.Sprintf("memory of process %d, %s", pid, region.name), memory, region.from, region.to) == nil {
			bytes += region.to - region.from
		}
	}
	if err := lines.Err(); err != nil {
		return bytes, err
	}
	if bytes == 0 {
		return 0, fmt.Errorf("memory of process %d: no region of it can be read; run as its user or as root", pid)
	}
	return bytes, nil
}

type region struct {
	from, to int64
	name     string
}

// parseRegion reads a line of /proc/PID/maps: "from-to perms offset dev inode name". Reserved space without rights holds nothing.
func parseRegion(line string) (region, bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 || !strings.HasPrefix(fields[1], "r") {
		return region{}, false
	}
	low, high, ok := strings.Cut(fields[0], "-")
	from, err := strconv.ParseInt(low, 16, 64)
	to, errTo := strconv.ParseInt(high, 16, 64)
	if !ok || err != nil || errTo != nil { // the last page of the address space does not fit, and is the kernel's
		return region{}, false
	}
	name := "anonymous"
	if len(fields) > 5 {
		name = fields[5]
	}
	return region{from, to, name}, !strings.HasPrefix(name, "[vvar") && name != "[vsyscall]"
}
