package controller

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/actions/actionsconnect"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy/dataproxyconnect"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/gen/flyteidl2/workflow/workflowconnect"
	"biplane.dev/biplane/internal/names"
)

// Where the benchmarks run: the project and domain that a new plane has.
const (
	project = "flytesnacks"
	domain  = "development"
)

// Client is one client process's connections to a plane.
type Client struct {
	http    *http.Client
	actions actionsconnect.ActionsServiceClient
	data    dataproxyconnect.DataProxyServiceClient
	runs    workflowconnect.RunServiceClient
}

// NewClient makes a client of the gateway at url, with connections of its own.
func NewClient(url string) *Client {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	c := &Client{http: &http.Client{Transport: &http.Transport{Protocols: &protocols, MaxIdleConnsPerHost: 64, DisableCompression: true}}}
	options := connect.WithClientOptions(
		connect.WithAcceptCompression("gzip", func() connect.Decompressor { return &gzip.Reader{} }, fastest), connect.WithSendGzip(),
	)
	c.actions = actionsconnect.NewActionsServiceClient(c.http, url, options)
	c.data = dataproxyconnect.NewDataProxyServiceClient(c.http, url, options)
	c.runs = workflowconnect.NewRunServiceClient(c.http, url, options)
	return c
}

// fastest makes gzip bodies with as little work as possible: the driver shares the machine with what it measures, and the
// default level clears more memory for a small body than the rest of a call touches.
func fastest() connect.Compressor {
	w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one of gzip's own
	}
	return w
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Upload stores the inputs of a run, as the SDK does before it creates one.
func (c *Client) Upload(ctx context.Context, t Task, length time.Duration) (*common.OffloadedInputData, error) {
	response, err := c.data.UploadInputs(ctx, &dataproxy.UploadInputsRequest{
		Id:     &dataproxy.UploadInputsRequest_ProjectId{ProjectId: &common.ProjectIdentifier{Organization: names.Org, Domain: domain, Name: project}},
		Task:   &dataproxy.UploadInputsRequest_TaskSpec{TaskSpec: t.spec()},
		Inputs: inputs(length),
	})
	return response.GetOffloadedInputData(), err
}

// Create makes a run of a task and returns its name.
func (c *Client) Create(ctx context.Context, t Task, inputs *common.OffloadedInputData) (string, error) {
	response, err := c.runs.CreateRun(ctx, &workflow.CreateRunRequest{
		Id:           &workflow.CreateRunRequest_ProjectId{ProjectId: &common.ProjectIdentifier{Organization: names.Org, Domain: domain, Name: project}},
		Task:         &workflow.CreateRunRequest_TaskSpec{TaskSpec: t.spec()},
		InputWrapper: &workflow.CreateRunRequest_OffloadedInputData{OffloadedInputData: inputs},
		RunSpec:      &task.RunSpec{},
		Source:       workflow.RunSource_RUN_SOURCE_CLI,
	})
	return response.GetRun().GetAction().GetId().GetRun().GetName(), err
}

// Succeeded is how a run should end.
const Succeeded = common.ActionPhase_ACTION_PHASE_SUCCEEDED

// Wait returns when the run has ended, with its last phase.
func (c *Client) Wait(ctx context.Context, run string) (common.ActionPhase, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.runs.WatchActionDetails(ctx, &workflow.WatchActionDetailsRequest{ActionId: actionID(run, names.Root)})
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	for stream.Receive() {
		status := stream.Msg().GetDetails().GetStatus()
		if status.GetEndTime() != nil {
			return status.GetPhase(), nil
		}
	}
	return 0, fmt.Errorf("the watch of run %s ended before the run: %w", run, stream.Err())
}

// Open makes a run whose root sleeps for an hour, and watches its children. length is how long a child sleeps.
func (c *Client) Open(ctx context.Context, length time.Duration) (*Parent, error) {
	hour, err := c.Upload(ctx, Nap, time.Hour)
	if err != nil {
		return nil, err
	}
	run, err := c.Create(ctx, Nap, hour)
	if err != nil {
		return nil, err
	}
	// A task is told its run's base in its environment; this one has no process and works it out from where the plane keeps
	// its objects. Like a task it writes inputs there itself, once for all children: they are alike.
	bucket, _, found := strings.Cut(hour.GetUri(), "/inputs/")
	if !found {
		return nil, fmt.Errorf("the address of uploaded inputs, %s, is not what this driver knows", hour.GetUri())
	}
	base := path.Join(bucket, "runs", project, domain, run)
	raw, err := proto.Marshal(inputs(length))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(base, "children"), 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(base, "children", "inputs.pb")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return nil, err
	}
	p := newParent(c, run, Nap.spec(), file, base)
	return p, p.watch(ctx)
}

// Abort ends a run and all below it.
func (c *Client) Abort(ctx context.Context, run string) error {
	_, err := c.runs.AbortRun(ctx, &workflow.AbortRunRequest{RunId: runID(run)})
	return err
}

func runID(run string) *common.RunIdentifier {
	return &common.RunIdentifier{Org: names.Org, Project: project, Domain: domain, Name: run}
}

func actionID(run, action string) *common.ActionIdentifier {
	return &common.ActionIdentifier{Run: runID(run), Name: action}
}

// Moments of the last attempt of a run's root, by the plane's clock.
type Moments struct{ Queued, Admitted, Started, Ended time.Time }

// Moments asks for them; the attempt must have ended.
func (c *Client) Moments(ctx context.Context, run string) (m Moments, err error) {
	response, err := c.runs.GetActionDetails(ctx, &workflow.GetActionDetailsRequest{ActionId: actionID(run, names.Root)})
	if err != nil {
		return m, err
	}
	attempts := response.GetDetails().GetAttempts()
	if len(attempts) == 0 {
		return m, fmt.Errorf("run %s has no attempt", run)
	}
	for _, t := range attempts[len(attempts)-1].GetPhaseTransitions() {
		switch at := t.GetStartTime().AsTime(); t.GetPhase() {
		case common.ActionPhase_ACTION_PHASE_QUEUED:
			m.Queued = at
		case common.ActionPhase_ACTION_PHASE_INITIALIZING:
			m.Admitted = at
		case common.ActionPhase_ACTION_PHASE_RUNNING:
			m.Started = at
		case common.ActionPhase_ACTION_PHASE_SUCCEEDED:
			m.Ended = at
		}
	}
	if m.Queued.IsZero() || m.Admitted.IsZero() || m.Started.IsZero() || m.Ended.IsZero() {
		return m, fmt.Errorf("run %s does not tell all its moments: %+v", run, m)
	}
	return m, nil
}
