package anchor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/fault"
)

// commandTime is how long a command may take; one that takes longer is tried again in the next session.
const commandTime = 30 * time.Second

// Sink is a link.Sink on an anchor.
type Sink struct {
	*Anchor
	// Do applies one command; when it returns nil the effect is durable. It must be idempotent: when the plane dies between
	// the effect and the cursor, the command comes once more.
	Do  func(ctx context.Context, command *linkv1.Command) error
	Log *slog.Logger
}

// Apply implements link.Sink. A command that can never be applied (its run does not exist, it has ended, this version
// does not know the order) is logged and counts as applied: it must not hold up those behind it.
func (s *Sink) Apply(ctx context.Context, commands []*linkv1.Command) error {
	for _, command := range commands {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.apply(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// apply does one command and moves the cursor. Once begun it is not interrupted by the end of the session: an effect without its
// cursor would come again.
func (s *Sink) apply(ctx context.Context, command *linkv1.Command) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTime)
	defer cancel()
	if err := s.do(ctx, command); err != nil {
		if !hopeless(err) {
			return err
		}
		s.Log.Warn("a command of the control plane was refused", "command", command.GetSeq(), "error", err)
	}
	return s.advance(ctx, command.GetSeq())
}

func (s *Sink) do(ctx context.Context, command *linkv1.Command) error {
	if command.GetOrder() == nil {
		return fault.New(fault.KindUnsupported, "this version of the data plane does not know the order")
	}
	if err := s.Do(ctx, command); err != nil {
		return fmt.Errorf("command %d: %w", command.GetSeq(), err)
	}
	return nil
}

func hopeless(err error) bool {
	switch fault.KindOf(err) {
	case fault.KindNotFound, fault.KindInvalid, fault.KindPrecondition, fault.KindUnsupported, fault.KindExists, fault.KindDenied:
		return true
	default:
		return false
	}
}
