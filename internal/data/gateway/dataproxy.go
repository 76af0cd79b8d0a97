package gateway

import (
	"context"
	"encoding/base32"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"biplane.dev/biplane/gen/flyteidl2/cluster"
	"biplane.dev/biplane/gen/flyteidl2/cluster/clusterconnect"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy/dataproxyconnect"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Cluster is ClusterService. A data plane is one cluster: everything is served where the client already is, which an
// empty endpoint says.
type Cluster struct {
	clusterconnect.UnimplementedClusterServiceHandler
}

// SelectCluster always chooses the plane that was asked.
func (Cluster) SelectCluster(context.Context, *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
	return &cluster.SelectClusterResponse{}, nil
}

// Data is DataProxyService: uploads, inputs, outputs, downloads, logs (logs.go).
type Data struct {
	dataproxyconnect.UnimplementedDataProxyServiceHandler
	*Gateway
}

// Expiry of signed URLs, when the request asks for none, and at most.
const (
	defaultExpiry = 15 * time.Minute
	maxExpiry     = 24 * time.Hour
)

func expiry(asked time.Duration) time.Duration {
	if asked <= 0 {
		return defaultExpiry
	}
	return min(asked, maxExpiry)
}

// CreateUploadLocation signs a URL for one object. The key is made of the content's digest, or of the root that the client
// chose, so that the same upload again meets its own object.
func (s Data) CreateUploadLocation(ctx context.Context, request *dataproxy.CreateUploadLocationRequest) (*dataproxy.CreateUploadLocationResponse, error) {
	scope, err := names.NewProject(request.GetProject(), request.GetDomain())
	if err != nil {
		return nil, err
	}
	if err := s.Names.Accepts(ctx, scope); err != nil {
		return nil, err
	}
	key, err := uploadKey(scope, request)
	if err != nil {
		return nil, err
	}
	var md5 *[16]byte
	switch len(request.GetContentMd5()) {
	case 0:
	case 16:
		sum := [16]byte(request.GetContentMd5())
		md5 = &sum
		// An object that is there already may only be written with what it holds: nobody replaces another's code bundle.
		if info, err := s.Bucket.Stat(ctx, key); err == nil && info.MD5 != sum {
			return nil, fault.New(fault.KindExists, "an object with other content exists already at %s; choose another filename or filename_root", key)
		}
	default:
		return nil, fault.Invalid("content_md5", "must be the 16 bytes of an MD5, got %d", len(request.GetContentMd5()))
	}
	length := int64(-1)
	if request.GetContentLength() > 0 {
		length = request.GetContentLength()
	}
	url, headers, until, err := s.Signer.SignPut(key, expiry(request.GetExpiresIn().AsDuration()), length, md5)
	if err != nil {
		return nil, err
	}
	return &dataproxy.CreateUploadLocationResponse{SignedUrl: url, NativeUrl: s.Bucket.URI(key), ExpiresAt: timestamppb.New(until), Headers: headers}, nil
}

func uploadKey(scope names.Project, request *dataproxy.CreateUploadLocationRequest) (objects.Key, error) {
	segments := []string{"uploads", scope.Project, scope.Domain}
	root, filename := request.GetFilenameRoot(), request.GetFilename()
	if root != "" {
		segments = append(segments, strings.Split(root, "/")...)
	} else {
		if len(request.GetContentMd5()) == 0 {
			return "", fault.Invalid("content_md5", "is needed when filename_root is empty")
		}
		segments = append(segments, strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(request.GetContentMd5())))
	}
	if filename == "" {
		return "", fault.Invalid("filename", "is empty")
	}
	for _, s := range segments[3:] {
		if err := objects.CheckName("filename_root", s); err != nil {
			return "", err
		}
	}
	for _, s := range strings.Split(filename, "/") {
		if err := objects.CheckName("filename", s); err != nil {
			return "", err
		}
		segments = append(segments, s)
	}
	return objects.NewKey(segments...)
}

// UploadInputs stores the inputs of a run to come.
func (s Data) UploadInputs(ctx context.Context, request *dataproxy.UploadInputsRequest) (*dataproxy.UploadInputsResponse, error) {
	scope, err := uploadScope(request)
	if err != nil {
		return nil, err
	}
	if err := s.Names.Accepts(ctx, scope); err != nil {
		return nil, err
	}
	spec, err := s.uploadTask(ctx, request)
	if err != nil {
		return nil, err
	}
	inputs := request.GetInputs()
	if inputs == nil {
		inputs = &task.Inputs{}
	}
	if base := strings.TrimRight(request.GetBaseDir(), "/"); base != "" {
		data, err := s.storeInputsAt(base, spec, inputs)
		return &dataproxy.UploadInputsResponse{OffloadedInputData: data}, err
	}
	data, err := s.storeInputs(ctx, scope, spec, inputs)
	return &dataproxy.UploadInputsResponse{OffloadedInputData: data}, err
}

func uploadScope(request *dataproxy.UploadInputsRequest) (names.Project, error) {
	if run := request.GetRunId(); run != nil {
		if run.GetName() != "" {
			if err := names.CheckRun("run_id.name", run.GetName()); err != nil {
				return names.Project{}, err
			}
		}
		return names.NewProject(run.GetProject(), run.GetDomain())
	}
	if request.GetProjectId() == nil {
		return names.Project{}, fault.Invalid("id", "is missing: give run_id or project_id")
	}
	return projectID(request.GetProjectId())
}

// uploadTask finds the task whose cache settings say which inputs do not count.
func (s Data) uploadTask(ctx context.Context, request *dataproxy.UploadInputsRequest) (*task.TaskSpec, error) {
	switch t := request.GetTask().(type) {
	case *dataproxy.UploadInputsRequest_TaskSpec:
		return t.TaskSpec, nil
	case *dataproxy.UploadInputsRequest_TaskId:
		id, err := taskID("task_id", t.TaskId)
		if err != nil {
			return nil, err
		}
		spec, _, err := s.Names.Task(ctx, id)
		return spec, err
	case *dataproxy.UploadInputsRequest_TriggerName:
		details, err := s.Names.Trigger(ctx, t.TriggerName)
		if err != nil {
			return nil, err
		}
		scope, err := names.NewProject(t.TriggerName.GetProject(), t.TriggerName.GetDomain())
		if err != nil {
			return nil, err
		}
		spec, _, err := s.Names.Task(ctx, names.Task{Project: scope, Name: t.TriggerName.GetTaskName(), Version: details.GetSpec().GetTaskVersion()})
		return spec, err
	}
	return &task.TaskSpec{}, nil
}

// GetActionData returns the inputs and, when it has ended well, the outputs of an action.
func (s Data) GetActionData(ctx context.Context, request *dataproxy.GetActionDataRequest) (*dataproxy.GetActionDataResponse, error) {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return nil, err
	}
	run, err := s.Journal.Run(ctx, id.Run)
	if err != nil {
		return nil, err
	}
	row, err := s.Journal.Action(ctx, run.ID, id.Action)
	if err != nil {
		return nil, err
	}
	response := &dataproxy.GetActionDataResponse{Inputs: &task.Inputs{}, Outputs: &task.Outputs{}, InputsUri: row.InputURI, OutputsUri: outputsFile(row.Kind, row.OutputURI)}
	if row.Kind != engine.KindCondition {
		if err := s.readMessage(ctx, row.InputURI, response.Inputs); err != nil {
			if row.Kind == engine.KindTask || !fault.Is(err, fault.KindNotFound) {
				return nil, gone(err, "inputs")
			}
		}
	}
	if err := s.readOutputs(ctx, row, response.Outputs); err != nil {
		return nil, err
	}
	s.localise(response.GetInputs().GetLiterals())
	s.localise(response.GetOutputs().GetLiterals())
	return response, nil
}

func (s Data) readOutputs(ctx context.Context, row *journal.Row, into *task.Outputs) error {
	if !row.Phase.Good() || row.OutputURI == "" || row.Kind == engine.KindCondition {
		return nil
	}
	err := s.readMessage(ctx, outputsFile(row.Kind, row.OutputURI), into)
	if fault.Is(err, fault.KindNotFound) && row.Kind == engine.KindTask {
		spec, specErr := s.taskSpec(ctx, row.Spec)
		if specErr == nil && len(spec.GetTaskTemplate().GetInterface().GetOutputs().GetVariables()) == 0 {
			return nil // a task without outputs need not write the file
		}
	}
	return gone(err, "outputs")
}

// GetActionDataURIs returns where an action's inputs and outputs are.
func (s Runs) GetActionDataURIs(ctx context.Context, request *workflow.GetActionDataURIsRequest) (*workflow.GetActionDataURIsResponse, error) {
	id, err := actionID("action_id", request.GetActionId())
	if err != nil {
		return nil, err
	}
	run, err := s.Journal.Run(ctx, id.Run)
	if err != nil {
		return nil, err
	}
	row, err := s.Journal.Action(ctx, run.ID, id.Action)
	if err != nil {
		return nil, err
	}
	return &workflow.GetActionDataURIsResponse{InputsUri: row.InputURI, OutputsUri: outputsFile(row.Kind, row.OutputURI)}, nil
}

// CreateDownloadLink signs a URL for an attempt's report or for the code bundle of its task.
func (s Data) CreateDownloadLink(ctx context.Context, request *dataproxy.CreateDownloadLinkRequest) (*dataproxy.CreateDownloadLinkResponse, error) {
	var uri string
	var err error
	switch request.GetArtifactType() {
	case dataproxy.ArtifactType_ARTIFACT_TYPE_REPORT:
		uri, err = s.reportURI(ctx, request)
	case dataproxy.ArtifactType_ARTIFACT_TYPE_CODE_BUNDLE:
		uri, err = s.bundleURI(ctx, request)
	default:
		err = fault.Invalid("artifact_type", "must be REPORT or CODE_BUNDLE, got %s", request.GetArtifactType())
	}
	if err != nil {
		return nil, err
	}
	key, err := s.Bucket.Key(uri)
	if err != nil {
		return nil, fault.New(fault.KindPrecondition, "%s is not in this plane's bucket and cannot be downloaded through it", uri)
	}
	links := &dataproxy.PreSignedURLs{}
	if _, err := s.Bucket.Stat(ctx, key); fault.Is(err, fault.KindNotFound) {
		return &dataproxy.CreateDownloadLinkResponse{PreSignedUrls: links}, nil // the client says that there is none
	} else if err != nil {
		return nil, err
	}
	url, until, err := s.Signer.SignGet(key, expiry(request.GetExpiresIn().AsDuration()))
	links.SignedUrl, links.ExpiresAt = []string{url}, timestamppb.New(until)
	return &dataproxy.CreateDownloadLinkResponse{PreSignedUrls: links}, err
}

func (s Data) reportURI(ctx context.Context, request *dataproxy.CreateDownloadLinkRequest) (string, error) {
	_, row, err := s.sourceAction(ctx, request)
	if err != nil {
		return "", err
	}
	attempt := request.GetActionAttemptId().GetAttempt()
	if attempt == 0 || attempt > row.Attempt {
		attempt = row.Attempt
	}
	if row.Phase.Good() && attempt == row.Attempt && row.OutputURI != "" {
		return row.OutputURI + "/report.html", nil // a cache hit's report is that of the action it hit
	}
	return engine.OutputDir(row.OutputBase, row.Name, attempt) + "/report.html", nil
}

func (s Data) sourceAction(ctx context.Context, request *dataproxy.CreateDownloadLinkRequest) (*journal.RunInfo, *journal.Row, error) {
	id, err := actionID("action_attempt_id.action_id", request.GetActionAttemptId().GetActionId())
	if err != nil {
		return nil, nil, err
	}
	run, err := s.Journal.Run(ctx, id.Run)
	if err != nil {
		return nil, nil, err
	}
	row, err := s.Journal.Action(ctx, run.ID, id.Action)
	return run, row, err
}

func (s Data) bundleURI(ctx context.Context, request *dataproxy.CreateDownloadLinkRequest) (string, error) {
	var spec *task.TaskSpec
	if id := request.GetTaskId(); id != nil {
		name, err := taskID("task_id", id)
		if err != nil {
			return "", err
		}
		if spec, _, err = s.Names.Task(ctx, name); err != nil {
			return "", err
		}
	} else {
		_, row, err := s.sourceAction(ctx, request)
		if err != nil {
			return "", err
		}
		if row.Kind != engine.KindTask {
			return "", fault.New(fault.KindPrecondition, "action %q is not a task and has no code bundle", row.Name)
		}
		if spec, err = s.taskSpec(ctx, row.Spec); err != nil {
			return "", err
		}
	}
	if uri := codeBundle(spec); uri != "" {
		return uri, nil
	}
	return "", fault.NotFound("code bundle of task", spec.GetTaskTemplate().GetId().GetName())
}
