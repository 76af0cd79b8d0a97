package plane_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"connectrpc.com/connect"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link/linktest"
)

const (
	running   = linkv1.Phase_PHASE_RUNNING
	succeeded = linkv1.Phase_PHASE_SUCCEEDED
)

// model is what the ledger must say in the end.
type model map[string]linkv1.Phase

func (m model) put(source *linktest.Plane, run string, phase linkv1.Phase) {
	source.Put(linktest.Run(run, phase), linktest.Action(run, "a0", phase))
	m[run] = phase
}

func (h *house) awaitModel(m model) {
	h.t.Helper()
	linktest.Eventually(h.t, "the ledger equals the plane", func() bool { return maps.Equal(h.phases(), m) })
}

func (h *house) plane() *adminv1.Plane {
	h.t.Helper()
	answer, err := h.client().ListPlanes(context.Background(), &adminv1.ListPlanesRequest{})
	if err != nil {
		h.t.Fatal(err)
	}
	if len(answer.GetPlanes()) != 1 {
		return &adminv1.Plane{}
	}
	return answer.GetPlanes()[0]
}

func TestLedgerEqualsThePlaneWhateverTheNetworkDoes(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			h := newHouse(t)
			h.start()
			proxy := linktest.NewProxy(t, seed, h.listen)
			proxy.Cut(20 << 10)
			folder := t.TempDir()
			source := linktest.Open(t, folder)
			disconnect := h.connect(source, proxy.Address())
			m := model{}
			for step := range 600 {
				m.put(source, fmt.Sprint("r", random.IntN(60)), linkv1.Phase(1+random.IntN(9)))
				switch random.IntN(150) {
				case 0: // the control plane restarts
					h.halt()
					h.start()
				case 1: // the data plane restarts
					disconnect()
					source.Close()
					source = linktest.Open(t, folder)
					disconnect = h.connect(source, proxy.Address())
				case 2:
					proxy.CutAll()
				case 3, 4: // give it time to get somewhere before the next cut
					run := fmt.Sprint("s", step)
					m.put(source, run, running)
					linktest.Eventually(t, "the ledger has seen "+run, func() bool { return h.phases()[run] == running })
				}
			}
			proxy.Cut(0)
			proxy.CutAll()
			h.awaitModel(m)
			if proxy.Accepted() < 3 {
				t.Errorf("only %d connections: nothing was cut", proxy.Accepted())
			}
		})
	}
}

func TestALedgerThatWasDeletedIsFilledAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start()
	source := linktest.Open(t, t.TempDir())
	h.connect(source, h.listen)
	m := model{}
	var many []*linkv1.Event
	for i := range 600 { // more than one batch
		name := fmt.Sprint("r", i)
		many = append(many, linktest.Run(name, succeeded))
		m[name] = succeeded
	}
	source.Put(many...)
	h.awaitModel(m)
	h.halt()
	for _, name := range []string{"control.db", "control.db-wal", "control.db-shm"} {
		if err := os.Remove(filepath.Join(h.state, name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	h.start()
	h.awaitModel(m)
}

func TestAPlaneThatWasPutBackIsNoticed(t *testing.T) {
	t.Parallel()
	for _, more := range []int{0, 500} { // with its head below the cursor, and already above it again
		t.Run(fmt.Sprint(more, " changes since"), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.start()
			folder := t.TempDir()
			source := linktest.Open(t, folder)
			disconnect := h.connect(source, h.listen)
			m := model{}
			m.put(source, "old", running)
			m.put(source, "done-before", succeeded)
			h.awaitModel(m)
			disconnect()
			source.Close()
			backup := filepath.Join(t.TempDir(), "backup")
			if err := os.CopyFS(backup, os.DirFS(folder)); err != nil {
				t.Fatal(err)
			}

			source = linktest.Open(t, folder)
			disconnect = h.connect(source, h.listen)
			m.put(source, "old", succeeded)
			m.put(source, "lost", running)
			m.put(source, "lost-but-ended", succeeded)
			h.awaitModel(m)
			disconnect()
			source.Close()

			source = linktest.Open(t, backup)
			for i := range more {
				source.Put(linktest.Action("old", fmt.Sprint("child-", i), running))
			}
			h.connect(source, h.listen)
			// The plane's own state counts, also where it went back; an end that was recorded stays recorded; a run that nobody
			// runs is not shown as running.
			m["old"] = running
			delete(m, "lost")
			h.awaitModel(m)
		})
	}
}

func TestCommandsAreAppliedOnceInOrder(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start()
	proxy := linktest.NewProxy(t, 5, h.listen)
	folder := t.TempDir()
	source := linktest.Open(t, folder)
	disconnect := h.connect(source, proxy.Address())
	m := model{}
	m.put(source, "r", running)
	h.awaitModel(m)
	proxy.Cut(8 << 10)
	proxy.CutAll()
	abort := func() int64 {
		answer, err := h.client().AbortRun(context.Background(), &adminv1.AbortRunRequest{Name: "r", By: "me"})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetCommand()
	}
	var want, got []int64
	for i := range 60 {
		want = append(want, abort())
		switch i {
		case 20:
			h.halt()
			h.start()
		case 40:
			disconnect()
			for _, command := range source.Done() {
				got = append(got, command.GetSeq())
			}
			source.Close()
			source = linktest.Open(t, folder)
			disconnect = h.connect(source, proxy.Address())
		}
	}
	proxy.Cut(0)
	proxy.CutAll()
	linktest.Eventually(t, "no command waits", func() bool { return h.plane().GetCommandsPending() == 0 })
	for _, command := range source.Done() {
		got = append(got, command.GetSeq())
		if command.GetAbortRun().GetBy() != "me" || command.GetAbortRun().GetRun().GetName() != "r" {
			t.Errorf("command %v", command)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("applied %v, want %v", got, want)
	}

	// A control plane that has forgotten everything gives out numbers that the plane has not seen.
	h.halt()
	if err := os.RemoveAll(h.state); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.awaitModel(m)
	before := len(source.Done())
	abort()
	linktest.Eventually(t, "the command is applied", func() bool { return len(source.Done()) == before+1 })

	// An ended run is left alone.
	m.put(source, "r", succeeded)
	h.awaitModel(m)
	if command := abort(); command != 0 {
		t.Errorf("a command (%d) was queued for a run that has ended", command)
	}
}

func TestASilentPlaneIsNotReportingAndItsStateStays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start()
	proxy := linktest.NewProxy(t, 6, h.listen)
	source := linktest.Open(t, t.TempDir())
	h.connect(source, proxy.Address())
	m := model{}
	m.put(source, "r", running)
	m.put(source, "ended", succeeded)
	h.awaitModel(m)
	if p := h.plane(); !p.GetReporting() || p.GetVersion() != "1" || p.GetCpuMillis() != 2000 {
		t.Errorf("plane %v", p)
	}
	get := func(name string) *adminv1.Run {
		answer, err := h.client().GetRun(context.Background(), &adminv1.GetRunRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetRun()
	}
	if r := get("r"); r.GetNotReportingSince() != nil {
		t.Errorf("run %v", r)
	}

	connections := proxy.Accepted()
	proxy.Stall() // nothing is closed: only the watchdogs can notice
	linktest.Eventually(t, "the plane is not reporting", func() bool { return !h.plane().GetReporting() })
	r := get("r")
	if r.GetPhase() != running || r.GetNotReportingSince() == nil {
		t.Errorf("run %v", r)
	}
	if r := get("ended"); r.GetNotReportingSince() != nil {
		t.Errorf("a run that has ended depends on its plane's silence: %v", r)
	}
	linktest.Eventually(t, "the data plane dials again", func() bool { return proxy.Accepted() > connections })
	m.put(source, "r", succeeded)
	proxy.Recover()
	proxy.CutAll()
	h.awaitModel(m)
	linktest.Eventually(t, "the plane reports", func() bool { return h.plane().GetReporting() })

	// It is known after a restart, too, before the plane is back.
	proxy.Stall()
	h.halt()
	h.start()
	if p := h.plane(); p.GetReporting() || p.GetLastHeard().AsTime().Year() < 2020 {
		t.Errorf("plane %v", p)
	}
}

func TestChangesThatConcernNobodyDoNotLeaveThePlaneBehind(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start()
	source := linktest.Open(t, t.TempDir())
	h.connect(source, h.listen)
	m := model{}
	m.put(source, "r", running)
	source.Skip(1000)
	h.awaitModel(m)
	linktest.Eventually(t, "the plane is not behind", func() bool { p := h.plane(); return p.GetReporting() && p.GetBehind() == 0 })
}

func TestTheAdminAPIWantsItsToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start()
	_, err := h.stranger().ListPlanes(context.Background(), &adminv1.ListPlanesRequest{})
	if connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("err %v, want unauthenticated", err)
	}
}
