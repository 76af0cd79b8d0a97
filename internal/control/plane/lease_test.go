package plane_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	"biplane.dev/biplane/gen/biplane/admin/v1/adminv1connect"
	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/admin"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/link/linktest"
)

// enrolled enrols one more data plane, and connects what tells for it.
func (h *house) enrolled(name string, source *linktest.Plane, health func() *linkv1.Health) (disconnect func()) {
	h.t.Helper()
	answer, err := h.client().AddPlane(context.Background(), &adminv1.AddPlaneRequest{Name: name})
	if err != nil {
		h.t.Fatal(err)
	}
	token, err := enrol.ParseToken(answer.GetToken())
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := enrol.Enroll(h.t.Context(), enrol.Contact{Address: h.listen}, token, h.folderOf(name)); err != nil {
		h.t.Fatal(err)
	}
	return h.reconnect(name, source, health)
}

func (h *house) folderOf(name string) string { return filepath.Join(filepath.Dir(h.state), name) }

// reconnect connects what tells for a plane that has enrolled.
func (h *house) reconnect(name string, source *linktest.Plane, health func() *linkv1.Health) (disconnect func()) {
	h.t.Helper()
	folder := h.folderOf(name)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		link.Run(ctx, link.Config{
			Where: func() (string, *tls.Config, error) {
				config, err := link.ClientTLS(folder)
				return h.listen, config, err
			},
			Source: source, Sink: source.Sink(), Health: health, Log: slog.New(slog.DiscardHandler), FirstWait: 5 * time.Millisecond, MaxWait: 50 * time.Millisecond,
		})
	}()
	disconnect = func() { cancel(); <-done }
	h.t.Cleanup(disconnect)
	return disconnect
}

func idle() *linkv1.Health { return &linkv1.Health{Version: "1"} }

// leased is what a plane tells of a run under a lease.
func leased(name string, epoch, created int64, phase linkv1.Phase) []*linkv1.Event {
	run, root := linktest.Run(name, phase), linktest.Action(name, "a0", phase)
	run.GetRun().Epoch, run.GetRun().CreatedUs = epoch, created
	root.GetAction().Epoch, root.GetAction().RunCreatedUs = epoch, created
	return []*linkv1.Event{root, run}
}

// on says which planes have a run of the name, and in which phase.
func (h *house) on(name string) (found []string) {
	h.t.Helper()
	answer, err := h.client().ListRuns(context.Background(), &adminv1.ListRunsRequest{})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, run := range answer.GetRuns() {
		if run.GetName() == name {
			found = append(found, run.GetPlane()+" "+run.GetPhase().String())
		}
	}
	slices.Sort(found)
	return found
}

func (h *house) awaitOn(name string, want ...string) {
	h.t.Helper()
	linktest.Eventually(h.t, "the run is where it ought to be", func() bool { return slices.Equal(h.on(name), want) })
}

// stops are the orders to stop a run that a plane has applied.
func stops(source *linktest.Plane) (found []*linkv1.StopRun) {
	for _, command := range source.Done() {
		if stop := command.GetStopRun(); stop != nil {
			found = append(found, stop)
		}
	}
	return found
}

func TestAPlaneWithAnOldLeaseIsRefusedAndToldToStop(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start()
	old, new := linktest.Open(t, t.TempDir()), linktest.Open(t, t.TempDir())
	disconnect := h.connect(old, h.listen)
	h.enrolled("there", new, idle)
	old.Put(leased("r", 1, 7, running)...)
	h.awaitOn("r", "here PHASE_RUNNING")
	disconnect() // it is cut off, and goes on
	new.Put(leased("r", 2, 7, running)...)
	h.awaitOn("r", "there PHASE_RUNNING")
	for range 10 {
		old.Put(leased("r", 1, 7, succeeded)...)
	}
	old.Put(leased("later", 1, 8, running)...)
	h.connect(old, h.listen)
	linktest.Eventually(t, "it is told to stop", func() bool { return len(stops(old)) > 0 })
	h.awaitOn("later", "here PHASE_RUNNING") // what comes after is recorded: a refusal holds nothing up
	h.awaitOn("r", "there PHASE_RUNNING")
	for range 10 {
		old.Put(leased("r", 1, 7, succeeded)...)
	}
	old.Put(leased("last", 1, 9, running)...)
	h.awaitOn("last", "here PHASE_RUNNING")
	got := stops(old)
	if len(got) != 1 || got[0].GetEpoch() != 1 || got[0].GetReason() != linkv1.StopReason_STOP_REASON_MOVED || got[0].GetHolder() != "there" || got[0].GetRun().GetName() != "r" {
		t.Errorf("it was told %v", got)
	}
	if others := stops(new); len(others) != 0 {
		t.Errorf("the one that has the run was told %v", others)
	}
	new.Put(leased("r", 2, 7, succeeded)...)
	h.awaitOn("r", "there PHASE_SUCCEEDED")
}

func TestOfTwoRunsOfOneNameTheEarlierOneStays(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{"the later is heard of first": "here", "the earlier is heard of first": "there"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.start()
			late, early := linktest.Open(t, t.TempDir()), linktest.Open(t, t.TempDir())
			h.connect(late, h.listen)
			h.enrolled("there", early, idle)
			if first == "here" {
				late.Put(leased("r", 1, 20, running)...)
				h.awaitOn("r", "here PHASE_RUNNING")
				early.Put(leased("r", 1, 10, running)...)
			} else {
				early.Put(leased("r", 1, 10, running)...)
				h.awaitOn("r", "there PHASE_RUNNING")
				late.Put(leased("r", 1, 20, running)...)
			}
			linktest.Eventually(t, "the later is told to end", func() bool { return len(stops(late)) == 1 })
			if got := stops(late)[0]; got.GetReason() != linkv1.StopReason_STOP_REASON_NAME_CONFLICT || got.GetHolder() != "there" || got.GetEpoch() != 1 {
				t.Errorf("it was told %v", got)
			}
			ended := leased("r", 1, 20, linkv1.Phase_PHASE_ABORTED)
			ended[1].GetRun().ErrorCode = "NAME_CONFLICT"
			late.Put(ended...)
			early.Put(leased("r", 1, 10, succeeded)...)
			h.awaitOn("r", "here PHASE_ABORTED", "there PHASE_SUCCEEDED")
			if got := stops(early); len(got) != 0 {
				t.Errorf("the earlier was told %v", got)
			}
		})
	}
}

func (h *house) placement() adminv1connect.PlacementServiceClient {
	h.t.Helper()
	address, token, err := admin.Find(h.state)
	if err != nil {
		h.t.Fatal(err)
	}
	return adminv1connect.NewPlacementServiceClient(http.DefaultClient, "http://"+address, connect.WithInterceptors(admin.RequireToken(token)))
}

func (h *house) awaitDrain(name string, want adminv1.DrainPhase) *adminv1.DrainStatus {
	h.t.Helper()
	var status *adminv1.DrainStatus
	linktest.Eventually(h.t, "the drain is "+want.String(), func() bool {
		answer, err := h.placement().GetDrain(context.Background(), &adminv1.GetDrainRequest{Name: name})
		if err != nil {
			h.t.Fatal(err)
		}
		status = answer.GetStatus()
		return status.GetPhase() == want
	})
	return status
}

func drains(source *linktest.Plane) (undone []bool) {
	for _, command := range source.Done() {
		if drain := command.GetDrain(); drain != nil {
			undone = append(undone, drain.GetUndo())
		}
	}
	return undone
}

func TestADrainIsDoneWhenThePlaneSaysSo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start()
	folder := t.TempDir()
	source := linktest.Open(t, folder)
	health := make(chan *linkv1.Health, 1)
	health <- &linkv1.Health{Version: "1", RunsActive: 2, AttemptsRunning: 3}
	say := func(h *linkv1.Health) { <-health; health <- h }
	tell := func() *linkv1.Health {
		now := <-health
		health <- now
		return proto.CloneOf(now) // the link writes into it
	}
	disconnect := h.enrolled("there", source, tell)
	linktest.Eventually(t, "the plane reports", func() bool { return h.awaitDrain("there", adminv1.DrainPhase_DRAIN_PHASE_OPEN).GetRunsLeft() == 2 })

	order := func(undo bool) {
		for range 2 { // twice is once
			if _, err := h.placement().DrainPlane(t.Context(), &adminv1.DrainPlaneRequest{Name: "there", Undo: undo, By: "me"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	order(false)
	linktest.Eventually(t, "the order has arrived", func() bool { return slices.Equal(drains(source), []bool{false}) })
	if s := h.awaitDrain("there", adminv1.DrainPhase_DRAIN_PHASE_ORDERED); s.GetBy() != "me" || s.GetOrdered() == nil {
		t.Errorf("status %v", s)
	}
	say(&linkv1.Health{RunsActive: 1, AttemptsRunning: 1, Draining: true})
	if s := h.awaitDrain("there", adminv1.DrainPhase_DRAIN_PHASE_DRAINING); s.GetRunsLeft() != 1 || s.GetAttemptsRunning() != 1 {
		t.Errorf("status %v", s)
	}
	disconnect()
	h.halt()
	h.start() // it is remembered
	if s := h.awaitDrain("there", adminv1.DrainPhase_DRAIN_PHASE_DRAINING); s.GetNotReportingSince() == nil || s.GetRunsLeft() != 1 {
		t.Errorf("status %v", s)
	}
	source.Close()

	// The plane comes back with a database that knows nothing of it: it is told again.
	again := linktest.Open(t, t.TempDir())
	say(&linkv1.Health{RunsActive: 0})
	h.reconnect("there", again, tell)
	linktest.Eventually(t, "the order has arrived again", func() bool { return slices.Equal(drains(again), []bool{false}) })
	say(&linkv1.Health{Draining: true})
	h.awaitDrain("there", adminv1.DrainPhase_DRAIN_PHASE_DONE)
	order(true)
	linktest.Eventually(t, "it is taken back", func() bool { return slices.Equal(drains(again), []bool{false, true}) })
	h.awaitDrain("there", adminv1.DrainPhase_DRAIN_PHASE_REOPENING)
	say(&linkv1.Health{})
	h.awaitDrain("there", adminv1.DrainPhase_DRAIN_PHASE_OPEN)

	_, err := h.placement().DrainPlane(t.Context(), &adminv1.DrainPlaneRequest{Name: "nowhere"})
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a plane that is not there: %v", err)
	}
	if _, err := h.placement().DrainPlane(t.Context(), &adminv1.DrainPlaneRequest{}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a plane without a name: %v", err)
	}
}
