package plane_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
)

// What does not exist is named, with what to do, and nothing is made for it.
func TestUnknownNames(t *testing.T) {
	b := start(t)
	before := b.snapshot()
	run := func(project, domain string, change func(*workflow.CreateRunRequest)) error {
		request := createRequest("new", sleepSpec(), sleepInputs(0))
		request.GetRunId().Project, request.GetRunId().Domain = project, domain
		if change != nil {
			change(request)
		}
		_, err := b.runs.CreateRun(t.Context(), request)
		return err
	}
	upload := func(project, domain string) error {
		_, err := b.data.UploadInputs(t.Context(), &dataproxy.UploadInputsRequest{
			Id:     &dataproxy.UploadInputsRequest_ProjectId{ProjectId: &common.ProjectIdentifier{Name: project, Domain: domain}},
			Inputs: echoInputs("new"),
		})
		return err
	}
	location := func(project, domain string) error {
		_, err := b.data.CreateUploadLocation(t.Context(), &dataproxy.CreateUploadLocationRequest{
			Project: project, Domain: domain, Filename: "file.tgz", FilenameRoot: "root",
		})
		return err
	}
	deploy := func(project, domain string) error {
		id := &task.TaskIdentifier{Project: project, Domain: domain, Name: "nap", Version: "1"}
		_, err := b.tasks.DeployTask(t.Context(), &task.DeployTaskRequest{TaskId: id, Spec: sleepSpec()})
		return err
	}
	byID := func(name, version string) func(*workflow.CreateRunRequest) {
		id := &task.TaskIdentifier{Project: project, Domain: domain, Name: name, Version: version}
		return func(r *workflow.CreateRunRequest) { r.Task = &workflow.CreateRunRequest_TaskId{TaskId: id} }
	}
	for what, test := range map[string]struct {
		err   error
		words []string
	}{
		"run, project":     {run("nowhere", domain, nil), []string{`project "nowhere" does not exist`, "flyte create project"}},
		"run, domain":      {run(project, "nowhere", nil), []string{`domain "nowhere" does not exist`, "development, staging, production"}},
		"upload, project":  {upload("nowhere", domain), []string{`project "nowhere" does not exist`}},
		"upload, domain":   {upload(project, "nowhere"), []string{`domain "nowhere" does not exist`}},
		"address, project": {location("nowhere", domain), []string{`project "nowhere" does not exist`}},
		"address, domain":  {location(project, "nowhere"), []string{`domain "nowhere" does not exist`}},
		"deploy, project":  {deploy("nowhere", domain), []string{`project "nowhere" does not exist`}},
		"deploy, domain":   {deploy(project, "nowhere"), []string{`domain "nowhere" does not exist`}},
		"task":             {run(project, domain, byID("nothing", "")), []string{`task "nothing" does not exist`, "flyte deploy"}},
		"version":          {run(project, domain, byID("nothing", "7")), []string{`task "nothing" has no version "7"`, "flyte deploy"}},
		"trigger": {run(project, domain, func(r *workflow.CreateRunRequest) {
			r.Task = &workflow.CreateRunRequest_TriggerName{TriggerName: samples["flyteidl2.common.TriggerName"].(*common.TriggerName)}
		}), []string{"yearly", "does not exist"}},
	} {
		t.Run(what, func(t *testing.T) { wantCode(t, test.err, connect.CodeNotFound, test.words...) })
	}
	b.unchanged(before, "a name that does not exist")
}

// Bytes that are no request are refused by the server before any handler sees them.
func TestBodiesThatAreNoRequests(t *testing.T) {
	b := start(t)
	message, err := proto.Marshal(createRequest("new", echoSpec(), echoInputs(strings.Repeat("x", 4000))))
	wantOK(t, "encode", err)
	whole := zipped(t, bytes.NewReader(message))
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 0xff
	const binary, packed = "Content-Type: application/proto", "Content-Encoding: gzip"
	before := b.snapshot()
	for what, test := range map[string]struct {
		path    string
		body    []byte
		headers []string
		status  int
		words   []string
	}{
		"malformed":           {create, []byte{0x0a, 0xff, 0xff}, []string{binary}, 400, []string{"invalid_argument"}},
		"cut short":           {create, message[:len(message)/2], []string{binary}, 400, []string{"invalid_argument"}},
		"another message":     {create, []byte("\x0a\x02{}garbage"), []string{binary}, 400, []string{"invalid_argument"}},
		"not UTF-8":           {create, bytes.Replace(message, []byte("new"), []byte("n\xff\xfe"), 1), []string{binary}, 400, []string{"invalid_argument", "UTF-8"}},
		"malformed JSON":      {create, []byte(`{"runId": {`), []string{"Content-Type: application/json"}, 400, []string{"invalid_argument"}},
		"wrong type":          {create, message, []string{"Content-Type: text/html"}, 415, nil},
		"no type":             {create, message, nil, 415, nil},
		"a form":              {create, []byte("run=new"), []string{"Content-Type: application/x-www-form-urlencoded"}, 415, nil},
		"truncated gzip":      {create, whole[:len(whole)-9], []string{binary, packed}, 400, []string{"invalid_argument", "truncated"}},
		"damaged gzip":        {create, damaged, []string{binary, packed}, 400, []string{"invalid_argument"}},
		"another compression": {create, message, []string{binary, "Content-Encoding: zstd"}, 501, []string{"unimplemented"}},
		"over the limit":      {createProject, make([]byte, 17<<20), []string{binary}, 429, []string{"resource_exhausted", "over the limit of 16777216 bytes"}},
		"a bomb":              {create, bomb(t), []string{binary, packed}, 429, []string{"resource_exhausted", "over the limit of 134217728 bytes"}},
		"no such service":     {"/flyteidl2.auth.Nothing/Get", nil, []string{binary}, 501, []string{"unimplemented", "is not served here"}},
		"not served":          {"/flyteidl2.workflow.RunService/Nothing", nil, []string{binary}, 501, []string{"unimplemented", "is not served here"}},
	} {
		t.Run(what, func(t *testing.T) {
			status, answer, err := b.send(t.Context(), http.MethodPost, test.path, test.body, test.headers...)
			wantOK(t, "send", err)
			if status != test.status {
				t.Errorf("answered %d %.300q, want %d", status, answer, test.status)
			}
			wantWords(t, string(answer), test.words...)
		})
	}
	b.unchanged(before, "a body that is no request")
	b.create(createRequest("new", echoSpec(), echoInputs("after all that")))
}

const (
	create        = "/flyteidl2.workflow.RunService/CreateRun"
	createProject = "/flyteidl2.project.ProjectService/CreateProject"
)

func zipped(t *testing.T, content io.Reader) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.Copy(w, content)
	wantOK(t, "pack", err)
	wantOK(t, "pack", w.Close())
	return packed.Bytes()
}

// bomb is a gigabyte of zeros in a megabyte of gzip: a member of a megabyte, a thousand times.
func bomb(t *testing.T) []byte {
	return bytes.Repeat(zipped(t, bytes.NewReader(make([]byte, 1<<20))), 1<<10)
}

// Paths of the plain HTTP handlers lead to nothing but what they serve, however they are written.
func TestPathsThatClimb(t *testing.T) {
	b := start(t)
	b.create(createRequest("held", echoSpec(), echoInputs("secret")))
	b.await("held", "a0")
	before := b.snapshot()
	for _, root := range []string{"/objects/", "/biplane/", "/biplane/raw/", "/"} {
		for _, way := range []string{
			"../plane.db", "%2e%2e/plane.db", "..%2fplane.db", "%2e%2e%2fplane.db", "../../keys/url.key", "%2e%2e/%2e%2e/keys/url.key",
			"..%5c..%5ckeys%5curl.key", "%252e%252e/plane.db", "./../plane.db", "raw/../../keys/raw.key", "/etc/passwd", "%2fetc%2fpasswd",
			"runs/flytesnacks/development/held/a0/1/outputs.pb", "..%00/plane.db", "\u2025/plane.db", "%ef%bc%8e%ef%bc%8e/plane.db",
		} {
			for _, verb := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPost, "PROPFIND"} {
				status, answer, err := b.send(context.WithoutCancel(t.Context()), verb, root+way, []byte("escaped"))
				wantOK(t, verb+" "+root+way, err)
				if status < 400 || status >= 500 && status != http.StatusNotImplemented {
					t.Errorf("%s %s%s: answered %d %.100q", verb, root, way, status, answer)
				}
			}
		}
	}
	b.unchanged(before, "a path that climbs")
}

// A thousand connections on which nothing comes, and some on which a header comes for ever, keep nobody from being served.
func TestIdleConnections(t *testing.T) {
	b := start(t)
	address := strings.TrimPrefix(b.clients.base, "http://")
	for i := range 1000 {
		connection, err := net.Dial("tcp", address)
		wantOK(t, "connect", err)
		defer connection.Close()
		if i%100 == 0 {
			_, err := io.WriteString(connection, "POST "+create+" HTTP/1.1\r\nHost: plane\r\nX-Drip: ")
			wantOK(t, "drip", err)
		}
	}
	b.create(createRequest("served", sleepSpec(), sleepInputs(0)))
	wantPhase(t, b.await("served", "a0"), common.ActionPhase_ACTION_PHASE_SUCCEEDED)
}
