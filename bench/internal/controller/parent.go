package controller

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/names"
)

// The SDK's own numbers (flyte/_internal/controllers/remote): workers that enqueue, children under way, and how long one
// Enqueue may take.
const (
	workers        = 20
	window         = 1000
	enqueueTimeout = 5 * time.Second
)

// Parent is a running action with children.
type Parent struct {
	Run string
	// Window bounds the children that have been enqueued and have not ended; Workers those being enqueued.
	Window, Workers int

	client *Client
	spec   *task.TaskSpec
	id     *task.TaskIdentifier
	input  string
	base   string
	stop   context.CancelFunc
	ended  chan struct{} // the watch is over

	mu      sync.Mutex
	waiting map[string]chan error // by child; receives once
	failure error                 // of the watch
}

func newParent(c *Client, run string, spec *task.TaskSpec, input, base string) *Parent {
	id := spec.GetTaskTemplate().GetId()
	return &Parent{
		Run: run, Window: window, Workers: workers, client: c, spec: spec, input: input, base: base,
		id:      &task.TaskIdentifier{Org: id.GetOrg(), Project: id.GetProject(), Domain: id.GetDomain(), Name: id.GetName(), Version: id.GetVersion()},
		waiting: map[string]chan error{}, ended: make(chan struct{}),
	}
}

// watch opens the stream, waits for the snapshot's end and goes on reading until Close.
func (p *Parent) watch(ctx context.Context) error {
	ctx, p.stop = context.WithCancel(ctx)
	ctx, info := connect.NewClientContext(ctx)
	p.route(info)
	stream, err := p.client.actions.WatchForUpdates(ctx, &actions.WatchForUpdatesRequest{
		Filter: &actions.WatchForUpdatesRequest_ParentActionId{ParentActionId: actionID(p.Run, names.Root)},
	})
	if err != nil {
		p.stop()
		return err
	}
	for stream.Receive() && !stream.Msg().GetControlMessage().GetSentinel() {
	}
	if !stream.Msg().GetControlMessage().GetSentinel() {
		p.stop()
		return fmt.Errorf("the watch of run %s ended before its sentinel: %w", p.Run, stream.Err())
	}
	go func() {
		defer close(p.ended)
		defer stream.Close()
		for stream.Receive() {
			p.updated(stream.Msg().GetActionUpdate())
		}
		p.lost(fmt.Errorf("the watch of run %s ended: %w", p.Run, stream.Err()))
	}()
	return nil
}

// Close ends the watch and aborts the run.
func (p *Parent) Close(ctx context.Context) error {
	p.stop()
	<-p.ended
	return p.client.Abort(ctx, p.Run)
}

func (p *Parent) updated(update *workflow.ActionUpdate) {
	var err error
	switch update.GetPhase() {
	case common.ActionPhase_ACTION_PHASE_SUCCEEDED:
		if update.GetOutputUri() == "" {
			err = fmt.Errorf("child %s succeeded without an output address", update.GetActionId().GetName())
		}
	case common.ActionPhase_ACTION_PHASE_FAILED, common.ActionPhase_ACTION_PHASE_ABORTED, common.ActionPhase_ACTION_PHASE_TIMED_OUT:
		err = fmt.Errorf("child %s ended with %s: %s", update.GetActionId().GetName(), update.GetPhase(), update.GetError().GetMessage())
	default:
		return
	}
	name := update.GetActionId().GetName()
	p.mu.Lock()
	done := p.waiting[name]
	delete(p.waiting, name)
	p.mu.Unlock()
	if done != nil {
		done <- err
	}
}

func (p *Parent) lost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = err
	for _, done := range p.waiting {
		done <- err
	}
	clear(p.waiting)
}

func (p *Parent) expect(name string) (chan error, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := make(chan error, 1)
	p.waiting[name] = done
	return done, p.failure
}

// ChildName is what the SDK would call child i: a hash, so that names come in no order.
func (p *Parent) ChildName(i int) string {
	sum := sha256.Sum256([]byte(p.Run + "/" + strconv.Itoa(i)))
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:15]))
}

// Enqueue makes child i. Like the SDK it takes "exists already" for success, and tries again when the plane asks to slow down;
// retries counts that.
func (p *Parent) Enqueue(ctx context.Context, name string) (retries int, err error) {
	request := &actions.EnqueueRequest{Action: &actions.Action{
		ActionId: actionID(p.Run, name), ParentActionName: new(names.Root), InputUri: p.input, RunOutputBase: p.base,
		Spec: &actions.Action_Task{Task: &workflow.TaskAction{Id: p.id, Spec: p.spec}},
	}}
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := p.enqueueOnce(ctx, request)
		switch connect.CodeOf(err) {
		case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeDeadlineExceeded:
			if ctx.Err() != nil {
				return retries, err
			}
		case connect.CodeAlreadyExists:
			return retries, nil
		default:
			return retries, err
		}
		retries++
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return retries, ctx.Err()
		}
	}
}

func (p *Parent) enqueueOnce(ctx context.Context, request *actions.EnqueueRequest) error {
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	ctx, info := connect.NewClientContext(ctx)
	p.route(info)
	_, err := p.client.actions.Enqueue(ctx, request)
	return err
}

// route sets the headers by which a proxy could tell runs apart without reading the body.
func (p *Parent) route(info connect.CallInfo) {
	header := info.RequestHeader()
	header.Set("X-Actions-Project", project)
	header.Set("X-Actions-Domain", domain)
	header.Set("X-Actions-Run", p.Run)
	header.Set("X-Actions-Parent-Action", names.Root)
}

// Call makes one child and waits for its end: a hop of a chain.
func (p *Parent) Call(ctx context.Context, i int) error {
	name := p.ChildName(i)
	done, err := p.expect(name)
	if err != nil {
		return err
	}
	if _, err := p.Enqueue(ctx, name); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Fan is what a fan-out saw.
type Fan struct {
	Elapsed  time.Duration   // from the first Enqueue to the last child's end
	Enqueues []time.Duration // of each answer, in no order
	Retries  int             // Enqueues that were told to slow down
}

// FanOut makes children from the first to before the last, and waits for the end of each.
func (p *Parent) FanOut(ctx context.Context, first, last int) (Fan, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fan := Fan{Enqueues: make([]time.Duration, 0, last-first)}
	var mu sync.Mutex
	var enqueuing, running sync.WaitGroup
	slots := make(chan struct{}, p.Window)
	todo := make(chan int)
	began := time.Now()
	for range p.Workers {
		enqueuing.Go(func() {
			var times []time.Duration
			retried := 0
			for i := range todo {
				name := p.ChildName(i)
				done, err := p.expect(name)
				if err == nil {
					running.Go(func() {
						select {
						case err := <-done:
							if err != nil {
								cancel(err)
							}
						case <-ctx.Done():
						}
						<-slots
					})
					asked := time.Now()
					var again int
					again, err = p.Enqueue(ctx, name)
					times, retried = append(times, time.Since(asked)), retried+again
				}
				if err != nil {
					cancel(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			fan.Enqueues, fan.Retries = append(fan.Enqueues, times...), fan.Retries+retried
		})
	}
feed:
	for i := first; i < last; i++ {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			break feed
		}
		select {
		case todo <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(todo)
	enqueuing.Wait()
	running.Wait()
	fan.Elapsed = time.Since(began)
	if cause := context.Cause(ctx); cause != nil {
		return fan, cause
	}
	return fan, nil
}

// Hold makes children that do not end soon, and returns when all are acknowledged.
func (p *Parent) Hold(ctx context.Context, n int) error {
	todo := make(chan int)
	errs := make(chan error, p.Workers)
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range p.Workers {
		group.Go(func() {
			for i := range todo {
				if _, err := p.Enqueue(ctx, p.ChildName(i)); err != nil {
					errs <- err
					cancel()
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case todo <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(todo)
	group.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}
