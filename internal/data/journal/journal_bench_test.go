package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// family is a run whose root has as many children as a benchmark wants.
type family struct {
	journal *Journal
	state   *engine.State
	run     *engine.Run
	made    int
}

func openFamily(b *testing.B) *family {
	db, err := store.OpenSQLite(b.Context(), filepath.Join(b.TempDir(), "journal.db"), Migrations())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	f := &family{journal: New(db), run: &engine.Run{Name: runName("r"), Digest: "request"}}
	var out engine.Output
	f.state, out = create(1, f.run)
	f.commit(b, &out)
	return f
}

func (f *family) commit(b *testing.B, out *engine.Output) {
	if err := f.journal.Commit(b.Context(), out, Specs{"digest": []byte("spec")}); err != nil {
		b.Fatal(err)
	}
}

const base = "/home/somebody/.local/share/biplane/data/bucket/objects/runs/flytesnacks/development/rorp27lhs94lrojpqe5q"

// grow commits n children that end at once, with names and addresses as the SDK makes them.
func (f *family) grow(b *testing.B, n int) {
	nap := &engine.Task{Digest: "0123456789abcdef0123456789abcdef", Name: "naps.nap", Builtin: engine.BuiltinSleep}
	for range n {
		name := f.name(f.made)
		f.made++
		f.state.Step(engine.Time(1_000_000+f.made), engine.Enqueue{Run: f.run.Name, Spec: engine.ActionSpec{
			Name: name, Parent: names.Root, Kind: engine.KindTask, Task: nap, InputURI: base + "/" + name + "/inputs.pb", OutputBase: base,
		}})
	}
	out := f.state.Take()
	f.commit(b, &out)
}

func (*family) name(i int) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(i)))
	return hex.EncodeToString(sum[:12])
}

// spent reports CPU time and bytes written for each action since the reading before, which a noisy machine leaves alone.
func spent(b *testing.B, cpu, written int64, actions int) {
	b.ReportMetric(float64(cpuNow(b)-cpu)/1e3/float64(actions), "cpu-µs/action")
	b.ReportMetric(float64(writtenNow(b)-written)/float64(actions), "written-B/action")
}

func cpuNow(b *testing.B) int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// writtenNow is what this process has handed to the disk; 0 where the system does not say.
func writtenNow(b *testing.B) (n int64) {
	raw, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	_, text, _ := bytes.Cut(raw, []byte("\nwrite_bytes: "))
	if _, err := fmt.Sscan(string(text), &n); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkCommit is the journal's part of an action, by the number of actions that one transaction holds.
func BenchmarkCommit(b *testing.B) {
	for _, batch := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			f := openFamily(b)
			for range 20 {
				f.grow(b, 1000)
			}
			cpu, written, n := cpuNow(b), writtenNow(b), 0
			for b.Loop() {
				f.grow(b, batch)
				n += batch
			}
			spent(b, cpu, written, n)
		})
	}
}

// BenchmarkWatch is a commit and what a watcher of the parent reads after it.
func BenchmarkWatch(b *testing.B) {
	for _, batch := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			f := openFamily(b)
			for range 20 {
				f.grow(b, 1000)
			}
			seq := f.journal.Seq()
			cpu, written, n := cpuNow(b), writtenNow(b), 0
			for b.Loop() {
				f.grow(b, batch)
				rows, err := f.journal.Children(b.Context(), f.run.ID, names.Root, seq, 500)
				if err != nil || len(rows) != batch {
					b.Fatalf("%d rows, want %d: %v", len(rows), batch, err)
				}
				seq = rows[len(rows)-1].Seq
				n += batch
			}
			spent(b, cpu, written, n)
		})
	}
}

// BenchmarkKnown is a commit, and before it the question which of its names the journal knows, as the shell asks it.
func BenchmarkKnown(b *testing.B) {
	for _, batch := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			f := openFamily(b)
			for range 20 {
				f.grow(b, 1000)
			}
			cpu, written, n := cpuNow(b), writtenNow(b), 0
			for b.Loop() {
				asked := make([]string, batch)
				for i := range asked {
					asked[i] = f.name(f.made + i)
				}
				err := f.journal.Read(b.Context(), func(tx store.Tx) error {
					return f.journal.PhasesOf(tx, f.run.ID, asked, func(action string, _ engine.Phase) { b.Errorf("%s is not there yet", action) })
				})
				if err != nil {
					b.Fatal(err)
				}
				f.grow(b, batch)
				n += batch
			}
			spent(b, cpu, written, n)
		})
	}
}
