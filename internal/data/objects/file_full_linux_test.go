package objects_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/objects/objectstest"
	"biplane.dev/biplane/internal/fault"
)

const smallDisk = "BIPLANE_TEST_SMALL_DISK" // set in the copy of the test that owns a mount namespace: a folder to mount on

// A full disk is an error with a next step, leaves nothing behind, and is over when there is room. The test runs itself
// again in a mount namespace of its own, so that its small disk is gone with it, however it ends.
func TestFileFullDisk(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(smallDisk); dir != "" {
		fullDisk(t, dir)
		return
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFileFullDisk$", "-test.v")
	again.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		again.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		again.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if output, err := again.CombinedOutput(); err != nil {
		t.Fatalf("with a small disk (which needs root or unprivileged user namespaces): %v\n%s", err, output)
	} else if !bytes.Contains(output, []byte("--- PASS: TestFileFullDisk")) {
		t.Fatalf("the test did not run on its small disk:\n%s", output)
	}
}

func fullDisk(t *testing.T, dir string) {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,nr_inodes=64"); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	bucket := open(t, dir, objects.FileOptions{})
	objectstest.Put(t, bucket, "kept/before", "x")
	free := freeBlocks(t, dir)

	full := func(key string, size int, absent bool) {
		t.Helper()
		content := strings.NewReader(strings.Repeat("x", size))
		_, err := bucket.Put(t.Context(), objectstest.Key(t, key), content, objects.PutOptions{Size: int64(size), Absent: absent})
		objectstest.WantKind(t, err, fault.KindUnavailable)
		if !strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), "make room") {
			t.Fatalf("the error does not say what to do: %v", err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "incoming")); err != nil || len(left) != 0 {
			t.Fatalf("left in the incoming folder: %v, %v", left, err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "objects")); err != nil || len(left) != 1 {
			t.Fatalf("left among the objects: %v, %v", left, err)
		}
		if now := freeBlocks(t, dir); now != free {
			t.Fatalf("%s blocks are free, %s were before", now, free)
		}
	}
	full("new/folder/object", 2<<20, false)
	full("new/folder/object", 2<<20, true)
	full("kept/before", 2<<20, false)
	if got := objectstest.Get(t, bucket, "kept/before"); got != "x" {
		t.Fatalf("the object before holds %q", got)
	}
	full(strings.Repeat("deep/", 100)+"object", 1, false) // no inode left for the folders
	objectstest.Put(t, bucket, "new/folder/object", strings.Repeat("x", 512<<10))
	for i := range 100 { // and no room is lost by trying
		_, err := bucket.Put(t.Context(), "other", strings.NewReader(strings.Repeat("x", 1<<20)), objects.PutOptions{Size: -1})
		if !fault.Is(err, fault.KindUnavailable) {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	signer := objects.NewSigner([]byte("k"), "/")
	handler := objects.NewHandler(bucket, signer, objects.HandlerOptions{MaxBody: 2 << 20, Idle: time.Minute, Total: time.Minute, Log: slog.New(slog.DiscardHandler)})
	upload := func() *httptest.ResponseRecorder {
		answer := httptest.NewRecorder()
		target := signer.SignPut("uploaded", objects.Upload{Expires: time.Now().Add(time.Minute), Size: -1})
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPut, target, bytes.NewReader(make([]byte, 768<<10))))
		return answer
	}
	// The SDK sends an upload again after 503, when Retry-After says.
	if answer := upload(); answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" || !strings.Contains(answer.Body.String(), "full") {
		t.Fatalf("an upload gets %d %q", answer.Code, answer.Body)
	}
	if err := bucket.Delete(t.Context(), "new/folder/object"); err != nil {
		t.Fatalf("a full disk cannot be emptied: %v", err)
	}
	if answer := upload(); answer.Code != http.StatusOK {
		t.Fatalf("an upload after room was made gets %d %q", answer.Code, answer.Body)
	}
}

func freeBlocks(t *testing.T, dir string) string {
	t.Helper()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d of %d, %d inodes", stat.Bfree, stat.Blocks, stat.Ffree)
}
