package main_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var program string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "biplane-control")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(folder, "biplane-control")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

type process struct {
	t     *testing.T
	state string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	log   strings.Builder
	ended chan error
}

func prepare(t *testing.T) *process {
	t.Helper()
	root := t.TempDir()
	p := &process{t: t, state: filepath.Join(root, "state")}
	return p
}

// command is a control plane on the state, with further flags.
func (p *process) command(flags ...string) *exec.Cmd {
	return exec.Command(program, append([]string{"--state", p.state}, flags...)...)
}

func (p *process) start(flags ...string) {
	p.t.Helper()
	p.cmd, p.ended = p.command(flags...), make(chan error, 1)
	p.cmd.Stderr = &p.log
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { p.ended <- p.cmd.Wait(); close(ended) }()
	p.t.Cleanup(func() { p.cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(p.state, "admin.addr")); err == nil {
			return
		}
		select {
		case err := <-p.ended:
			p.t.Fatalf("it ended before it was ready: %v\n%s", err, &p.log)
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatal("it is not ready after 20 s")
		}
	}
}

func (p *process) awaitEnd() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(20 * time.Second):
		p.t.Fatal("it still runs after 20 s")
		return nil
	}
}

func (p *process) read(file string) string {
	p.t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.state, file))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

func TestItServesUntilSIGTERM(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	p.start()
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "biplane_control_changes_total"} {
		response, err := http.Get("http://" + p.read("admin.addr") + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %q %v", path, response.Status, body, err)
		}
	}
	token := p.read("admin.token")
	if info, err := os.Stat(filepath.Join(p.state, "admin.token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v %v", info.Mode(), err)
	}
	if address := p.read("link.addr"); !strings.HasPrefix(address, "127.0.0.1:") {
		t.Errorf("link.addr is %q", address)
	}

	second := p.command()
	out, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another control plane runs on") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("a second one on the same state: %v, %q", err, out)
	}
	p.read("admin.addr") // the second one has not removed it

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitEnd(); err != nil {
		t.Errorf("it ended with %v\n%s", err, &p.log)
	}
	for _, file := range []string{"admin.addr", "admin.token", "link.addr"} {
		if _, err := os.Stat(filepath.Join(p.state, file)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", file, err)
		}
	}
	if strings.Contains(p.log.String(), token) {
		t.Error("the token is in the log")
	}
}

func TestItDoesNotOutliveItsLifeline(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	p.start("--lifeline")
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitEnd(); err != nil {
		t.Errorf("it ended with %v\n%s", err, &p.log)
	}
}

func TestItStartsAgainAfterAKill(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	p.start()
	before := p.read("admin.token")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitEnd(); err == nil {
		t.Error("a killed process ended well")
	}
	if err := os.Remove(filepath.Join(p.state, "admin.addr")); err != nil { // what start waits for
		t.Fatal(err)
	}
	p.start()
	if p.read("admin.token") == before {
		t.Error("the token of the life before is still good")
	}
}

func TestWrongFlagsAreOneClearLine(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	busy := prepare(t)
	busy.start()
	for name, c := range map[string]struct {
		flags []string
		want  string
	}{
		"an admin API for everybody": {[]string{"--admin-listen", "0.0.0.0:0"}, "must be a loopback address"},
		"a port in use":              {[]string{"--link-listen", busy.read("link.addr")}, "address already in use"},
		"a local plane nowhere":      {[]string{"--local-plane", "here"}, "must be NAME=DIR"},
		"a local plane of no name":   {[]string{"--local-plane", "Not a name=" + t.TempDir()}, "local-plane"},
	} {
		out, err := p.command(c.flags...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) || strings.Count(strings.TrimSpace(string(out)), "\n") != 0 {
			t.Errorf("%s: %v, %q", name, err, out)
		}
	}
}
