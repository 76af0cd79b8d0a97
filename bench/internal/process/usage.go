package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used since it began.
type Usage struct {
	CPU      time.Duration // user and system
	Children time.Duration // the same of what it started and has waited for
	Written  int64         // bytes handed to the disk, as the kernel counts them when pages get dirty
	Resident int64         // bytes of memory
	Anon     int64         // bytes of Resident that are not files'
}

// Sub is what was used since before; memory is not a sum and stays as it is now.
func (u Usage) Sub(before Usage) Usage {
	u.CPU -= before.CPU
	u.Children -= before.Children
	u.Written -= before.Written
	return u
}

// ticks of /proc/PID/stat in a second: USER_HZ, which Linux holds at 100 on every platform that we build for.
const ticks = 100

// UsageOf reads /proc (proc(5)): stat for times, io for bytes, status for memory.
func UsageOf(pid int) (u Usage, err error) {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return u, err
	}
	if u.CPU, u.Children, err = cpuOf(string(stat)); err != nil {
		return u, err
	}
	for file, into := range map[string]map[string]*int64{
		"io":     {"write_bytes": &u.Written},
		"status": {"VmRSS": &u.Resident, "RssAnon": &u.Anon},
	} {
		raw, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			return u, err
		}
		for line := range bytes.Lines(raw) {
			name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
			target := into[name]
			if target == nil {
				continue
			}
			number, kilo := strings.CutSuffix(strings.TrimSpace(value), " kB")
			if *target, err = strconv.ParseInt(number, 10, 64); err != nil {
				return u, fmt.Errorf("%s of process %d: %w", file, pid, err)
			}
			if kilo {
				*target <<= 10
			}
		}
	}
	return u, nil
}

// cpuOf adds up utime and stime, fields 14 and 15, and those of ended children, 16 and 17. The name in field 2 may hold
// anything, so counting starts behind it.
func cpuOf(stat string) (own, children time.Duration, err error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("stat of a process has %d fields", len(fields))
	}
	for i, total := range []*time.Duration{&own, &own, &children, &children} {
		n, err := strconv.ParseInt(fields[11+i], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		*total += time.Duration(n) * time.Second / ticks
	}
	return own, children, nil
}

// child finds the process of this name below a process.
func child(parent int, name string) (int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, file := range stats {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		text := string(raw)
		open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
		fields := strings.Fields(text[end+1:])
		// The kernel keeps 15 bytes of a name.
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) || text[open+1:end] != name[:min(15, len(name))] {
			continue
		}
		return strconv.Atoi(strings.TrimSpace(text[:open]))
	}
	return 0, fmt.Errorf("no process %s below %d", name, parent)
}

// Busy is the CPU time that all processes of the machine have used since it started.
func Busy() (time.Duration, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var total time.Duration
	for i, field := range fields[1:9] {
		if i == 3 || i == 4 { // idle, and idle with a disk under way
			continue
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * time.Second / ticks
	}
	return total, nil
}

// Load is the 1-minute load average.
func Load() (float64, error) {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return strconv.ParseFloat(first, 64)
}
