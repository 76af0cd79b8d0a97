package linktest

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/anchor"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

var rows = store.Migrations{Part: "rows", Files: fstest.MapFS{"00001_rows.sql": {Data: []byte(
	"-- +goose Up\nCREATE TABLE rows (name TEXT PRIMARY KEY, seq BIGINT NOT NULL, event BLOB NOT NULL);\nCREATE INDEX rows_by_seq ON rows (seq);\n")}}}

// Plane is a data plane that has nothing but rows to report.
type Plane struct {
	t       testing.TB
	db      store.DB
	anchor  *anchor.Anchor
	changed chan struct{}

	mu   sync.Mutex
	done []*linkv1.Command
}

// Open begins a life of the plane in the folder.
func Open(t testing.TB, folder string) *Plane {
	t.Helper()
	db, err := store.OpenSQLite(context.Background(), filepath.Join(folder, "data.db"), rows, anchor.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	begun, err := anchor.Begin(context.Background(), db)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plane{t: t, db: db, anchor: begun, changed: make(chan struct{}, 1)}
	t.Cleanup(func() { db.Close() })
	return p
}

// Close ends the life. The link must have been stopped.
func (p *Plane) Close() {
	if err := p.db.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// Put commits changes of rows in one transaction; it fills in their numbers.
func (p *Plane) Put(events ...*linkv1.Event) {
	p.t.Helper()
	err := p.db.Write(context.Background(), func(tx store.WriteTx) error {
		for _, event := range events {
			event.Seq = tx.NextSeq()
			raw, err := proto.Marshal(event)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO rows (name, seq, event) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, event = excluded.event`, rowName(event), event.GetSeq(), raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func rowName(event *linkv1.Event) string {
	switch row := event.GetRow().(type) {
	case *linkv1.Event_Run:
		return "run " + row.Run.GetId().GetName()
	case *linkv1.Event_Action:
		return "action " + row.Action.GetId().GetRun().GetName() + " " + row.Action.GetId().GetName()
	case *linkv1.Event_Attempt:
		return fmt.Sprint("attempt ", row.Attempt.GetAction().GetRun().GetName(), " ", row.Attempt.GetAction().GetName(), " ", row.Attempt.GetNumber())
	case *linkv1.Event_Project:
		return "project " + row.Project.GetId()
	case *linkv1.Event_Task:
		return "task " + row.Task.GetId().GetName() + " " + row.Task.GetId().GetVersion()
	case *linkv1.Event_Trigger:
		return "trigger " + row.Trigger.GetId().GetTask() + " " + row.Trigger.GetId().GetName()
	default:
		return ""
	}
}

// Skip draws numbers for changes that do not concern the link.
func (p *Plane) Skip(n int) {
	p.t.Helper()
	err := p.db.Write(context.Background(), func(tx store.WriteTx) error {
		for range n {
			tx.NextSeq()
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Changes implements link.Source.
func (p *Plane) Changes(ctx context.Context, after int64, limit int) (events []*linkv1.Event, err error) {
	err = p.db.Read(ctx, func(tx store.Tx) error {
		found, err := tx.Query(`SELECT event FROM rows WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			var raw []byte
			event := &linkv1.Event{}
			if err := found.Scan(&raw); err != nil {
				return err
			}
			if err := proto.Unmarshal(raw, event); err != nil {
				return err
			}
			events = append(events, event)
		}
		return found.Err()
	})
	return events, err
}

// Changed implements link.Source.
func (p *Plane) Changed() <-chan struct{} { return p.changed }

// Head implements link.Source.
func (p *Plane) Head() int64 { return p.db.Seq() }

// Lives implements link.Source.
func (p *Plane) Lives() []*linkv1.Life { return p.anchor.Lives() }

// Sink applies commands by remembering them.
func (p *Plane) Sink() link.Sink {
	return &anchor.Sink{Anchor: p.anchor, Log: slog.New(slog.DiscardHandler), Do: func(_ context.Context, command *linkv1.Command) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done = append(p.done, command)
		return nil
	}}
}

// Done are the commands that were applied in this life, in order.
func (p *Plane) Done() []*linkv1.Command {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*linkv1.Command(nil), p.done...)
}

// RunID names a run of the plane.
func RunID(name string) *linkv1.RunID {
	return &linkv1.RunID{Org: names.Org, Project: "p", Domain: "development", Name: name}
}

// Run is the state of a run.
func Run(name string, phase linkv1.Phase) *linkv1.Event {
	return &linkv1.Event{Row: &linkv1.Event_Run{Run: &linkv1.RunState{Id: RunID(name), Phase: phase, CreatedUs: 1}}}
}

// Action is the state of an action.
func Action(run, name string, phase linkv1.Phase) *linkv1.Event {
	return &linkv1.Event{Row: &linkv1.Event_Action{Action: &linkv1.ActionState{
		Id: &linkv1.ActionID{Run: RunID(run), Name: name}, Phase: phase, CreatedUs: 1, OutputsUri: "file:///bucket/" + run + "/" + name}}}
}

// Eventually polls until the condition holds, and fails the test after a generous while.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
