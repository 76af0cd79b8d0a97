package objects

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settled is the age from which a file's time of change tells one content from the next: above the coarsest clock of a file system.
const settled = 2 * time.Second

// digestAttribute is the extended attribute that holds the MD5 of a file, with the size and the time of change it is true for.
const digestAttribute = "user.biplane.md5"

// maxDigests bounds what is remembered in memory where the file system has no extended attributes.
const maxDigests = 4096

// digests remembers the MD5 of files, so that describing a large object does not read it each time. What a task changed in place
// does not match its record any more and is computed anew.
type digests struct {
	mu     sync.Mutex
	memory map[uint64]string // by inode
}

func (d *digests) remember(file *os.File, stat fs.FileInfo, sum [16]byte) {
	record := digestRecord(stat, sum)
	if unix.Fsetxattr(int(file.Fd()), digestAttribute, []byte(record), 0) == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.memory == nil {
		d.memory = map[uint64]string{}
	}
	if len(d.memory) >= maxDigests {
		for victim := range d.memory {
			delete(d.memory, victim)
			break
		}
	}
	d.memory[inode(stat)] = record
}

func (d *digests) recall(file *os.File, stat fs.FileInfo) (sum [16]byte, ok bool) {
	var record string
	var buffer [128]byte
	if n, err := unix.Fgetxattr(int(file.Fd()), digestAttribute, buffer[:]); err == nil {
		record = string(buffer[:n])
	} else {
		d.mu.Lock()
		record = d.memory[inode(stat)]
		d.mu.Unlock()
	}
	if len(record) < 2*len(sum) {
		return sum, false
	}
	if _, err := hex.Decode(sum[:], []byte(record[:2*len(sum)])); err != nil || record != digestRecord(stat, sum) {
		return [16]byte{}, false
	}
	return sum, true
}

func digestRecord(stat fs.FileInfo, sum [16]byte) string {
	return fmt.Sprintf("%x %d %d", sum, stat.Size(), stat.ModTime().UnixNano())
}

func inode(stat fs.FileInfo) uint64 {
	if native, ok := stat.Sys().(*syscall.Stat_t); ok {
		return native.Ino
	}
	return 0
}
