package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	"biplane.dev/biplane/gen/biplane/admin/v1/adminv1connect"
	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/admin"

	"connectrpc.com/connect"

	"biplane.dev/biplane/bench/internal/controller"
	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
)

// planes is a fan-out with a control plane: what reporting costs, and how far behind the ledger is at the end.
func (b *bench) planes(ctx context.Context) error {
	const n = 6000
	t := b.table("planes")
	plane, err := process.StartBoth(ctx, b.programs)
	if err != nil {
		return err
	}
	err = func() error {
		address, token, err := admin.Find(filepath.Join(plane.State, "control"))
		if err != nil {
			return err
		}
		ledger := adminv1connect.NewAdminServiceClient(&http.Client{}, "http://"+address, connect.WithInterceptors(admin.RequireToken(token)))
		for range b.repeats {
			err := underParent(ctx, plane, 0, func(parent *controller.Parent) error {
				w, err := open(ctx, plane)
				if err != nil {
					return err
				}
				fan, err := parent.FanOut(ctx, 0, n)
				if err != nil {
					return err
				}
				ended := time.Now()
				if err := caughtUp(ctx, ledger, parent.Run, n); err != nil {
					return err
				}
				behind := time.Since(ended)
				c, err := w.close(ctx)
				if err != nil {
					return err
				}
				t.add(c, "planes/6000", float64(n)/fan.Elapsed.Seconds(), "actions/s", report.Higher, 0, "with a control plane")
				t.add(c, "planes/6000/behind", behind.Seconds(), "s", report.Lower, 0, "from the last end until the ledger has all")
				t.costs(c, "planes/6000", n)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}()
	return errors.Join(finish(plane, err), t.done())
}

// caughtUp polls until the ledger has n succeeded actions of the run.
func caughtUp(ctx context.Context, ledger adminv1connect.AdminServiceClient, run string, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := ledger.GetRun(ctx, &adminv1.GetRunRequest{Name: run, Limit: 1})
		if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
			return err
		}
		for _, c := range response.GetCounts() {
			if c.GetPhase() == linkv1.Phase_PHASE_SUCCEEDED && c.GetCount() >= n {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
