package process

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestCPUOf(t *testing.T) {
	t.Parallel()
	own, children, err := cpuOf("7 (a (bad) name 1 2) S 1 7 7 0 -1 4194560 900 0 3 0 150 25 2 1 20 0 9 0 100 1 2 3")
	if err != nil || own != 1750*time.Millisecond || children != 30*time.Millisecond {
		t.Errorf("got %v, %v, %v; want 1.75s, 30ms", own, children, err)
	}
	if _, _, err := cpuOf("7 (x) S 1"); err == nil {
		t.Error("a line cut short is accepted")
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc here")
	}
	u, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.Resident < 1<<20 || u.Anon > u.Resident {
		t.Errorf("memory of a running process: %+v", u)
	}
	busy, err := Busy()
	if err != nil || busy < u.CPU {
		t.Errorf("the machine used %v, this process %v (%v)", busy, u.CPU, err)
	}
	if _, err := Load(); err != nil {
		t.Error(err)
	}
}
