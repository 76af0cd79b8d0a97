package objects_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/objects/objectstest"
)

const (
	idle  = 30 * time.Second
	total = 10 * time.Minute
)

// pipes is a listener of connections in memory, whose deadlines keep the time of the test's bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	connection, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return connection, nil
}

func (p pipes) Close() error   { close(p); return nil } // net/http calls it once
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// withTime runs test on a connection to a handler, in a bubble where time passes only when everybody waits.
func withTime(t *testing.T, test func(t *testing.T, connection net.Conn, signer *objects.Signer, bucket *objects.File)) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		bucket := open(t, dir, objects.FileOptions{})
		signer := objects.NewSigner([]byte("k"), "/")
		handler := objects.NewHandler(bucket, signer, objects.HandlerOptions{MaxBody: maxBody, Idle: idle, Total: total, Log: slog.New(slog.DiscardHandler)})
		server := &http.Server{Handler: handler}
		listener := make(pipes, 1)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		near, far := net.Pipe()
		listener <- far
		defer func() {
			near.Close()
			server.Close()
			<-served
			time.Sleep(time.Minute) // the bubble's time: net/http lingers on a connection it closed
		}()
		test(t, near, signer, bucket)
	})
}

func wantAnswer(t *testing.T, connection io.Reader, status int, words string) {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != status || !strings.Contains(string(text), words) {
		t.Fatalf("got %d %q, %v; want %d with %q", answer.StatusCode, text, err, status, words)
	}
}

func startUpload(t *testing.T, connection io.Writer, target string, size int) {
	t.Helper()
	if _, err := fmt.Fprintf(connection, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", target, size); err != nil {
		t.Fatal(err)
	}
}

// A client that stands still is told so and let go.
func TestUploadStalled(t *testing.T) {
	withTime(t, func(t *testing.T, connection net.Conn, signer *objects.Signer, bucket *objects.File) {
		startUpload(t, connection, signer.SignPut("k", objects.Upload{Expires: time.Now().Add(time.Hour), Size: 100}), 100)
		if _, err := connection.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		wantAnswer(t, connection, http.StatusRequestTimeout, "stalled")
		if waited := time.Since(start); waited != idle {
			t.Fatalf("let go after %s, want %s", waited, idle)
		}
		served{bucket: bucket}.empty(t)
	})
}

// A client that is slow but moves is served, much longer than it may stand still.
func TestUploadSlow(t *testing.T) {
	withTime(t, func(t *testing.T, connection net.Conn, signer *objects.Signer, bucket *objects.File) {
		startUpload(t, connection, signer.SignPut("k", objects.Upload{Expires: time.Now().Add(time.Minute), Size: 10}), 10)
		for range 10 {
			time.Sleep(idle - time.Second)
			if _, err := connection.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		wantAnswer(t, connection, http.StatusOK, "")
		if got := objectstest.Get(t, bucket, "k"); got != "xxxxxxxxxx" {
			t.Fatalf("holds %q", got)
		}
	})
}

// However steadily it drips, an upload ends with Total.
func TestUploadDrips(t *testing.T) {
	withTime(t, func(t *testing.T, connection net.Conn, signer *objects.Signer, bucket *objects.File) {
		startUpload(t, connection, signer.SignPut("k", objects.Upload{Expires: time.Now().Add(time.Hour), Size: 1 << 20}), 1<<20)
		start := time.Now()
		drip := make(chan struct{})
		go func() {
			defer close(drip)
			for {
				if _, err := connection.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		wantAnswer(t, connection, http.StatusRequestTimeout, total.String())
		if took := time.Since(start); took != total {
			t.Fatalf("took %s, want %s", took, total)
		}
		connection.Close()
		<-drip
		served{bucket: bucket}.empty(t)
	})
}

// A reader that stands still does not hold the object, the connection and the goroutine for ever.
func TestDownloadStalled(t *testing.T) {
	withTime(t, func(t *testing.T, connection net.Conn, signer *objects.Signer, bucket *objects.File) {
		objectstest.Put(t, bucket, "k", strings.Repeat("x", 1<<20))
		if _, err := fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", signer.SignGet("k", time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(idle + time.Second)
		content, err := io.ReadAll(connection)
		if err != nil || len(content) >= 1<<20 {
			t.Fatalf("read %d bytes after the pause, %v; want the connection closed", len(content), err)
		}
	})
}
