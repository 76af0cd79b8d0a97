package plane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	projectpb "biplane.dev/biplane/gen/flyteidl2/project"
	"biplane.dev/biplane/gen/flyteidl2/secret"
	"biplane.dev/biplane/gen/flyteidl2/secret/secretconnect"
	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/plane"
)

const smallDisk = "BIPLANE_TEST_SMALL_DISK" // set in the copy of the test that owns a mount namespace: a folder to mount on

// A full disk is an error that says so, for whatever wanted to write. The plane stays up, goes on with what runs, and does the
// same request when there is room. The test runs itself again in a mount namespace of its own, so that its small disk is
// gone with it, however it ends.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(smallDisk); dir != "" {
		fullDisk(t, dir)
		return
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	again.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		again.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		again.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if output, err := again.CombinedOutput(); err != nil {
		t.Fatalf("with a small disk (which needs root or unprivileged user namespaces): %v\n%s", err, output)
	} else if !bytes.Contains(output, []byte("--- PASS: TestFullDisk")) {
		t.Fatalf("the test did not run on its small disk:\n%s", output)
	}
}

// disk is a small file system, and what takes its room away.
type disk struct {
	*testing.T
	ballast string
}

func newDisk(t *testing.T, dir string) *disk {
	t.Helper()
	wantOK(t, "make mounts private", syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	wantOK(t, "mount a small disk", syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m,mode=700"))
	return &disk{T: t, ballast: filepath.Join(dir, "ballast")}
}

// fill takes all the room there is.
func (d *disk) fill() {
	d.Helper()
	file, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	wantOK(d, "make the ballast", err)
	defer file.Close()
	for _, piece := range [][]byte{make([]byte, 1<<20), make([]byte, 4<<10)} {
		for err == nil {
			_, err = file.Write(piece)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			d.Fatalf("fill the disk: %v", err)
		}
		err = nil
	}
}

func (d *disk) free() {
	d.Helper()
	wantOK(d, "make room", os.Remove(d.ballast))
}

func fullDisk(t *testing.T, dir string) {
	d := newDisk(t, dir)
	b := startOn(t, filepath.Join(dir, "state"))
	secrets := secretconnect.NewSecretServiceClient(b.http, b.clients.base)
	b.parent("held")
	gate := filepath.Join(t.TempDir(), "gate")
	talker := b.child("held", "talker", 0)
	talker.GetAction().GetTask().Spec = scriptSpec(fmt.Sprintf(
		"echo first; touch %[1]s.first; while ! test -e %[1]s; do sleep 0.02; done; seq 1 200000; touch %[1]s.full; while ! test -e %[1]s.last; do sleep 0.02; done; echo last", gate))
	b.enqueue(talker)
	ender := b.child("held", "ender", 0)
	ender.GetAction().GetTask().Spec = scriptSpec(fmt.Sprintf("touch %[1]s.begun; while ! test -e %[1]s; do sleep 0.02; done; touch %[1]s.ended", gate))
	b.enqueue(ender)
	for _, sign := range []string{".first", ".begun"} {
		until(t, "a script runs", func() bool { _, err := os.Stat(gate + sign); return err == nil })
	}
	b.enqueue(b.condition("held", "gate"))
	child := b.child("held", "child", 0)
	uri := b.upload(echoSpec(), echoInputs("before"))
	place := b.locate(location(bytes.Repeat([]byte("x"), 1<<20), "large.tgz"))
	wanted := &workflow.CreateRunRequest{
		Id: &workflow.CreateRunRequest_RunId{RunId: runID("wanted")}, Task: &workflow.CreateRunRequest_TaskSpec{TaskSpec: echoSpec()},
		InputWrapper: &workflow.CreateRunRequest_OffloadedInputData{OffloadedInputData: &common.OffloadedInputData{Uri: uri}},
		// Large, because a journal has some room of its own.
		RunSpec: &task.RunSpec{Annotations: &task.Annotations{Values: map[string]string{"large": strings.Repeat("x", 4<<20)}}},
	}
	requests := map[string]func() error{
		"upload": func() error {
			if status, text := b.do(http.MethodPut, place.GetSignedUrl(), bytes.Repeat([]byte("x"), 1<<20)); status == http.StatusServiceUnavailable {
				return connect.NewError(connect.CodeUnavailable, errors.New(text))
			} else if status != http.StatusOK {
				return fmt.Errorf("%d %s", status, text)
			}
			return nil
		},
		"inputs": func() error {
			_, err := b.data.UploadInputs(t.Context(), &dataproxy.UploadInputsRequest{
				Id: &dataproxy.UploadInputsRequest_ProjectId{ProjectId: projectID()}, Inputs: echoInputs(strings.Repeat("y", 1<<20)),
			})
			return err
		},
		"inputs at a place": func() error {
			_, err := b.data.UploadInputs(t.Context(), &dataproxy.UploadInputsRequest{
				Id: &dataproxy.UploadInputsRequest_ProjectId{ProjectId: projectID()}, Inputs: echoInputs(strings.Repeat("y", 1<<20)), BaseDir: filepath.Join(dir, "place"),
			})
			return err
		},
		"run with inputs": func() error {
			_, err := b.runs.CreateRun(t.Context(), createRequest("with-inputs", echoSpec(), echoInputs(strings.Repeat("z", 1<<20))))
			return err
		},
		"run": func() error {
			_, err := b.runs.CreateRun(t.Context(), wanted)
			return err
		},
		"deploy": func() error {
			spec := sleepSpec()
			spec.Documentation = &task.DocumentationEntity{LongDescription: strings.Repeat("x", 4<<20)}
			id := &task.TaskIdentifier{Project: project, Domain: domain, Name: "nap", Version: "1"}
			_, err := b.tasks.DeployTask(t.Context(), &task.DeployTaskRequest{TaskId: id, Spec: spec})
			return ignore(err, connect.CodeAlreadyExists)
		},
		"secret": func() error {
			id := &secret.SecretIdentifier{Project: project, Domain: domain, Name: "large"}
			_, err := secrets.CreateSecret(t.Context(), &secret.CreateSecretRequest{
				Id: id, SecretSpec: &secret.SecretSpec{Value: &secret.SecretSpec_BinaryValue{BinaryValue: make([]byte, 64<<10)}},
			})
			return ignore(err, connect.CodeAlreadyExists)
		},
	}
	for i := range 100 { // they end while there is no room to write it down
		b.enqueue(b.child("held", fmt.Sprintf("sleep-%d", i), 500*time.Millisecond))
	}
	d.fill()
	for what, request := range requests {
		err := request()
		if connect.CodeOf(err) != connect.CodeUnavailable || err == nil || !strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), "make room") {
			t.Errorf("%s on a full disk: %v", what, err)
		}
	}
	// What only reads goes on, and what runs too.
	if status, _ := b.do(http.MethodGet, b.clients.base+"/healthz", nil); status != http.StatusOK {
		t.Errorf("the plane says %d of its health", status)
	}
	wantPhase(t, b.details("held", "gate"), common.ActionPhase_ACTION_PHASE_PAUSED)
	if _, err := b.projects.GetProject(t.Context(), &projectpb.GetProjectRequest{Id: project}); err != nil {
		t.Errorf("read a project: %v", err)
	}
	wantOK(t, "let the script talk", os.WriteFile(gate, nil, 0o600))
	for _, sign := range []string{".full", ".ended"} {
		until(t, "a script goes on", func() bool { _, err := os.Stat(gate + sign); return err == nil })
	}
	d.fill() // what the failures have let go of
	if err := requests["run"](); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a run on a disk that is still full: %v", err)
	}

	d.free()
	wantOK(t, "let the script end", os.WriteFile(gate+".last", nil, 0o600))
	for what, request := range requests {
		var err error
		until(t, what+" with room", func() bool { err = request(); return connect.CodeOf(err) != connect.CodeUnavailable || err == nil })
		if err != nil {
			t.Errorf("%s with room: %v", what, err)
		}
	}
	b.enqueue(child)
	_, err := b.actions.Signal(t.Context(), signal("held", "gate", "go"))
	wantOK(t, "signal", err)
	for _, ended := range [][2]string{{"wanted", "a0"}, {"with-inputs", "a0"}, {"held", "child"}, {"held", "gate"}, {"held", "talker"}, {"held", "ender"}} {
		wantPhase(t, b.await(ended[0], ended[1]), common.ActionPhase_ACTION_PHASE_SUCCEEDED)
	}
	for _, script := range []string{"talker", "ender"} {
		if attempts := b.details("held", script).GetAttempts(); len(attempts) != 1 {
			t.Errorf("%s was executed %d times", script, len(attempts))
		}
	}
	lines := b.lines("held", "talker")
	if len(lines) < 3 || lines[0] != "first" || lines[len(lines)-1] != "last" || !strings.Contains(strings.Join(lines, "\n"), "missing here: the log could not be written: no space left") {
		t.Errorf("the log has %d lines: %.300q", len(lines), lines)
	}
	for i := range 100 {
		b.await("held", fmt.Sprintf("sleep-%d", i))
	}
	b.close()
	startOnFullDisk(t, d, b.state)
	b = startOn(t, b.state)
	for name, action := range b.listed("held") {
		if phase := action.GetStatus().GetPhase(); name != "a0" && phase != common.ActionPhase_ACTION_PHASE_SUCCEEDED {
			t.Errorf("%s is %s", name, phase)
		}
	}
}

// A plane that has no room to start says so.
func startOnFullDisk(t *testing.T, d *disk, state string) {
	d.fill()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := plane.Run(ctx, config(state, slog.New(slog.DiscardHandler)), func(string) { cancel() }); err == nil {
		t.Error("a plane started on a full disk")
	} else {
		wantWords(t, err.Error(), "the disk is full or failing", "make room")
	}
	d.free()
}

func ignore(err error, code connect.Code) error {
	if err != nil && connect.CodeOf(err) == code {
		return nil
	}
	return err
}

// lines are an attempt's log.
func (b *bench) lines(run, action string) (lines []string) {
	b.Helper()
	stream, err := b.data.TailLogs(b.Context(), &dataproxy.TailLogsRequest{ActionId: actionID(run, action), Attempt: 1})
	wantOK(b, "tail a log", err)
	defer stream.Close()
	for stream.Receive() {
		for _, batch := range stream.Msg().GetLogs() {
			for _, line := range batch.GetLines() {
				lines = append(lines, strings.TrimSuffix(line.GetMessage(), "\n"))
			}
		}
	}
	wantOK(b, "tail a log", stream.Err())
	return lines
}
