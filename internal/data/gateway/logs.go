package gateway

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/logs/dataplane"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/data/logs"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

const (
	// logHeartbeat: the SDK's viewer gives up, and breaks the stream, after 30 s of silence.
	logHeartbeat = 10 * time.Second
	linesAtOnce  = 1000
)

// TailLogs sends an attempt's lines from the first on, live while it runs, and ends when the attempt has.
func (s Data) TailLogs(ctx context.Context, request *dataproxy.TailLogsRequest, stream *connect.ServerStream[dataproxy.TailLogsResponse]) error {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return err
	}
	run, err := s.Journal.Run(ctx, id.Run)
	if err != nil {
		return err
	}
	row, err := s.Journal.Action(ctx, run.ID, id.Action)
	if err != nil {
		return err
	}
	number := request.GetAttempt()
	if number == 0 {
		number = row.Attempt
	}
	if number > row.Attempt {
		return fault.NotFound("attempt", id.Action)
	}
	attempt := names.Attempt{Action: id, Number: number}
	changed, leave := s.Journal.Watch(journal.Topic{Run: run.ID, Action: id.Action})
	defer leave()
	position, spoke := "", s.Now()
	for {
		// Asked before reading: a line written in between is read, not lost.
		over, err := s.attemptOver(ctx, run.ID, attempt)
		if err != nil {
			return err
		}
		lines, next, err := s.Logs.Read(ctx, attempt, position, linesAtOnce)
		if fault.Is(err, fault.KindNotFound) && !over {
			err = nil // not begun yet: wait for it
		}
		if err != nil {
			return err
		}
		if next != "" {
			position = next
		}
		switch {
		case len(lines) > 0 || s.Now().Sub(spoke) >= logHeartbeat:
			if err := stream.Send(logLines(lines)); err != nil {
				return err
			}
			spoke = s.Now()
		case over:
			return nil
		default:
			s.waitForLines(ctx, attempt, position, changed)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}

func (s Data) attemptOver(ctx context.Context, runID int64, attempt names.Attempt) (bool, error) {
	row, err := s.Journal.Action(ctx, runID, attempt.Action.Action)
	if err != nil {
		return false, err
	}
	return row.Attempt > attempt.Number || row.Phase.Terminal(), nil
}

// waitForLines returns when there may be more lines, when the action has changed, or when it is time for a sign of life.
func (s Data) waitForLines(ctx context.Context, attempt names.Attempt, position string, changed <-chan struct{}) {
	wait, cancel := context.WithTimeout(ctx, logHeartbeat)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-wait.Done():
		}
	}()
	if err := s.Logs.Wait(wait, attempt, position); err != nil {
		<-wait.Done() // nothing to wait for yet: the attempt's next change, or its first line by the next sign of life
	}
}

func logLines(lines []logs.Line) *dataproxy.TailLogsResponse {
	if len(lines) == 0 {
		return &dataproxy.TailLogsResponse{} // a sign of life, which the client skips
	}
	batch := &dataproxy.TailLogsResponse_Logs{}
	for _, line := range lines {
		origin := dataplane.LogLineOriginator_USER
		if line.Stream == logs.System {
			origin = dataplane.LogLineOriginator_SYSTEM
		}
		batch.Lines = append(batch.Lines, &dataplane.LogLine{Timestamp: timestamppb.New(line.At), Message: line.Text + "\n", Originator: origin})
	}
	return &dataproxy.TailLogsResponse{Logs: []*dataproxy.TailLogsResponse_Logs{batch}}
}
