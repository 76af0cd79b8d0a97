package tether

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Stopped returns a context that is done when this process is asked to stop: by SIGINT, by SIGTERM, or, when lifeline is not
// nil, by the end of lifeline, which is a pipe whose other end the starter holds. However often and in whichever order it is
// asked, the process is never ended by it: a starter that closes the pipe and sends SIGTERM at once still sees an orderly end.
// The signals are caught until release is called.
func Stopped(lifeline io.Reader) (ctx context.Context, release context.CancelFunc) {
	signalled, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if lifeline == nil {
		return signalled, release
	}
	// Its own context: release would give the signals back their power to kill.
	ctx, cancel := context.WithCancel(signalled)
	go func() {
		_, _ = io.Copy(io.Discard, lifeline)
		cancel()
	}()
	return ctx, release
}
