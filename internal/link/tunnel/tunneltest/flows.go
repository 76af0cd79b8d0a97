package tunneltest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/link/tunnel"
)

const (
	// window is what a stream may carry before its reader reads, its opening included.
	window = 256 << 10
	// nearly is below what of it is left for bytes.
	nearly = window - 1024
)

type halfCloser interface{ CloseWrite() error }

func closeWrite(conn net.Conn) error { return conn.(halfCloser).CloseWrite() }

func bothWays(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	s.echo(plane, relay)
	s.echo(plane, relay)
}

func metaArrives(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	meta := &tunnelv1.Meta{ServerName: "east.acme.example", ClientAddress: "[2001:db8::1]:4711", DeadlineMs: 5000}
	outside, err := relay.Open(s.ctx, meta)
	if err != nil {
		s.Fatal(err)
	}
	defer outside.Close()
	inside, got, err := plane.Accept(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	defer inside.Close()
	if got.GetServerName() != meta.ServerName || got.GetClientAddress() != meta.ClientAddress || got.GetDeadlineMs() != meta.DeadlineMs {
		s.Errorf("got %v, want %v", got, meta)
	}
	if remote, ok := inside.RemoteAddr().(*net.TCPAddr); !ok || remote.String() != meta.ClientAddress {
		s.Errorf("the remote address is %v", inside.RemoteAddr())
	}
	if inside.LocalAddr().String() != meta.ServerName {
		s.Errorf("the local address is %v", inside.LocalAddr())
	}
}

func manyFlows(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	const flows, size = 16, 700_000 // more than a window
	var working sync.WaitGroup
	failures := make(chan error, 2*flows)
	// Each flow: a seed and noise there, the hash of the noise back.
	for seed := range uint64(flows) {
		working.Go(func() {
			failures <- func() error {
				conn, err := relay.Open(s.ctx, &tunnelv1.Meta{ServerName: "a.b"})
				if err != nil {
					return err
				}
				defer conn.Close()
				noise := noise(seed, size)
				if _, err := conn.Write(noise); err != nil {
					return err
				}
				if err := closeWrite(conn); err != nil {
					return err
				}
				got, err := io.ReadAll(conn)
				if want := sha256.Sum256(noise); err != nil || !bytes.Equal(got, want[:]) {
					return fmt.Errorf("flow %d came back as %x: %v", seed, got, err)
				}
				return nil
			}()
		})
		working.Go(func() {
			failures <- func() error {
				conn, _, err := plane.Accept(s.ctx)
				if err != nil {
					return err
				}
				defer conn.Close()
				hash := sha256.New()
				if _, err := io.Copy(hash, conn); err != nil {
					return err
				}
				_, err = conn.Write(hash.Sum(nil))
				return err
			}()
		})
	}
	working.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			s.Error(err)
		}
	}
}

func noise(seed uint64, size int) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// stalled fills 128 flows whose readers do not read; another flow must not notice.
func stalled(s *suite, down bool) {
	plane, relay := s.pair(tunnel.Options{})
	const flows = 128
	var written [flows]atomic.Int64
	var writing sync.WaitGroup
	defer writing.Wait()
	for i := range flows {
		inside, outside := s.flow(plane, relay)
		defer inside.Close()
		defer outside.Close()
		writer := inside
		if !down {
			writer = outside
		}
		writing.Go(func() {
			chunk := make([]byte, 1021)
			for {
				n, err := writer.Write(chunk)
				written[i].Add(int64(n))
				if err != nil {
					return
				}
			}
		})
	}
	for i := range flows {
		s.until("a flow's window is full", func() bool { return written[i].Load() >= nearly })
	}
	for range 3 {
		s.echo(plane, relay)
	}
	for i := range flows {
		if n := written[i].Load(); n > 2*window {
			s.Errorf("flow %d has taken %d bytes that nobody reads", i, n)
		}
	}
}

// failedWrite: the reader must hear of a write that timed out.
func failedWrite(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	for _, down := range []bool{true, false} {
		inside, outside := s.flow(plane, relay)
		writer, reader := inside, outside
		if !down {
			writer, reader = outside, inside
		}
		// The first write nearly fills the window, so that the second cannot do anything but wait for its deadline.
		if _, err := writer.Write(make([]byte, nearly)); err != nil {
			s.Fatal(err)
		}
		if err := writer.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			s.Fatal(err)
		}
		if n, err := writer.Write(make([]byte, window)); !errors.Is(err, os.ErrDeadlineExceeded) {
			s.Fatalf("a write into a full window ended with %d, %v", n, err)
		}
		s.wantErr(reader, tunnel.ErrReset)
		if _, err := reader.Write([]byte("x")); !errors.Is(err, tunnel.ErrReset) {
			s.Errorf("the reader's own direction: %v", err)
		}
		if _, err := writer.Read(make([]byte, 1)); !errors.Is(err, tunnel.ErrReset) {
			s.Errorf("the writer's other direction: %v", err)
		}
		inside.Close()
		outside.Close()
	}
	s.echo(plane, relay)
}

// closeIsNoticed: who writes to a flow that the other side has closed gets an error and does not hang.
func closeIsNoticed(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	for _, down := range []bool{true, false} {
		inside, outside := s.flow(plane, relay)
		writer, gone := inside, outside
		if !down {
			writer, gone = outside, inside
		}
		s.limit(writer)
		gone.Close()
		chunk := make([]byte, 8<<10)
		var err error
		for total := 0; err == nil; total += len(chunk) {
			_, err = writer.Write(chunk)
		}
		if !errors.Is(err, tunnel.ErrReset) {
			s.Errorf("writing to a flow that was closed ended with %v", err)
		}
		writer.Close()
	}
}

func halfClose(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	defer inside.Close()
	defer outside.Close()
	s.limit(inside, outside)
	question := noise(7, 100_000)
	if _, err := outside.Write(question); err != nil {
		s.Fatal(err)
	}
	if err := closeWrite(outside); err != nil {
		s.Fatal(err)
	}
	got, err := io.ReadAll(inside)
	if err != nil || !bytes.Equal(got, question) {
		s.Fatalf("%d bytes arrived: %v", len(got), err)
	}
	if _, err := inside.Write(question); err != nil {
		s.Fatalf("the other direction: %v", err)
	}
	if err := closeWrite(inside); err != nil {
		s.Fatal(err)
	}
	if got, err = io.ReadAll(outside); err != nil || !bytes.Equal(got, question) {
		s.Fatalf("%d bytes came back: %v", len(got), err)
	}
}

// halfClosedTooLong: the client has left, the server goes on and on.
func halfClosedTooLong(s *suite, clientLeaves bool) {
	plane, relay := s.pair(tunnel.Options{HalfClose: 50 * time.Millisecond})
	inside, outside := s.flow(plane, relay)
	defer inside.Close()
	defer outside.Close()
	stays, leaves := inside, outside
	if !clientLeaves {
		stays, leaves = outside, inside
	}
	s.limit(stays, leaves)
	if err := closeWrite(leaves); err != nil {
		s.Fatal(err)
	}
	var reading sync.WaitGroup
	var end error
	reading.Go(func() { _, end = io.Copy(io.Discard, struct{ io.Reader }{leaves}) })
	var err error
	for err == nil {
		_, err = stays.Write([]byte("data: still here\n\n"))
		select {
		case <-time.After(time.Millisecond):
		case <-s.ctx.Done():
			s.Fatal("the stream has outlived its client")
		}
	}
	reading.Wait()
	if !errors.Is(err, tunnel.ErrReset) || !errors.Is(end, tunnel.ErrReset) {
		s.Errorf("who stayed got %v, who left %v", err, end)
	}
}

// deadlines: a read whose deadline has passed takes no byte and no credit away. net/http ends its reads in this way.
func deadlines(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	defer inside.Close()
	defer outside.Close()
	const total = 8 * window
	var sending sync.WaitGroup
	want := noise(3, total)
	var sendErr error
	sending.Go(func() {
		if _, sendErr = outside.Write(want); sendErr == nil {
			sendErr = closeWrite(outside)
		}
	})
	var got bytes.Buffer
	chunk := make([]byte, 200<<10) // with the credit of more than half a window each time
	for round := 0; got.Len() < total; round++ {
		if err := inside.SetReadDeadline(time.Unix(1, 0)); err != nil {
			s.Fatal(err)
		}
		if n, err := inside.Read(chunk); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			s.Fatalf("a read after its deadline: %d, %v", n, err)
		}
		s.limit(inside)
		n, err := inside.Read(chunk)
		if err != nil {
			s.Fatalf("after %d bytes: %v", got.Len(), err)
		}
		got.Write(chunk[:n])
	}
	sending.Wait()
	if sendErr != nil || !bytes.Equal(got.Bytes(), want) {
		s.Errorf("%d bytes arrived, of %d: %v", got.Len(), total, sendErr)
	}
}

func deadlineWakes(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	defer inside.Close()
	defer outside.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := inside.Read(make([]byte, 1))
		ended <- err
	}()
	if err := inside.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		s.Fatal(err)
	}
	select {
	case err := <-ended:
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			s.Errorf("the read ended with %v", err)
		}
	case <-s.ctx.Done():
		s.Fatal("the read did not end")
	}
	s.exchange(outside, inside, "still good")
}

// twoWriters: two that write at the same time must not overdraw the window, which would end the session.
func twoWriters(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	defer inside.Close()
	defer outside.Close()
	s.limit(inside, outside)
	const writers, rounds, size = 32, 20, 65_001
	var writing sync.WaitGroup
	begin := make(chan struct{})
	for range writers {
		writing.Go(func() {
			<-begin
			for range rounds {
				if _, err := outside.Write(make([]byte, size)); err != nil {
					s.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	close(begin)
	n, err := io.CopyN(io.Discard, struct{ io.Reader }{inside}, writers*rounds*size)
	if err != nil {
		s.Errorf("%d bytes arrived: %v", n, err)
	}
	writing.Wait()
	s.echo(plane, relay)
}

// twoReaders: the end must wake all who wait.
func twoReaders(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	defer inside.Close()
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() {
			_, err := inside.Read(make([]byte, 1))
			ended <- err
		}()
	}
	outside.Close()
	for range cap(ended) {
		select {
		case err := <-ended:
			if !errors.Is(err, io.EOF) {
				s.Errorf("a reader got %v", err)
			}
		case <-s.ctx.Done():
			s.Fatal("a reader hangs")
		}
	}
}

func writtenBeforeClose(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	for range 20 {
		inside, outside := s.flow(plane, relay)
		want := noise(9, nearly)
		if _, err := inside.Write(want); err != nil {
			s.Fatal(err)
		}
		inside.Close()
		s.limit(outside)
		got, err := io.ReadAll(outside)
		if err != nil || !bytes.Equal(got, want) {
			s.Fatalf("%d bytes arrived, of %d: %v", len(got), len(want), err)
		}
		outside.Close()
	}
}

// everythingAtOnce: whatever is called at the same time, nothing panics, nothing hangs, and the race detector is content.
func everythingAtOnce(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	var working sync.WaitGroup
	for range 20 {
		inside, outside := s.flow(plane, relay)
		for _, conn := range []net.Conn{inside, outside} {
			for _, do := range []func(){
				func() { _, _ = conn.Write(make([]byte, 3*window)) },
				func() { _, _ = conn.Read(make([]byte, 1000)) },
				func() { _ = conn.SetDeadline(time.Now().Add(time.Millisecond)) },
				func() { _ = closeWrite(conn) },
				func() { conn.Close() },
			} {
				working.Go(do)
			}
		}
	}
	working.Go(func() { _, _ = relay.Ping(s.ctx) })
	working.Wait()
	s.echo(plane, relay)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	for range 5 {
		working.Go(func() { _ = relay.Drain(ctx) })
		working.Go(func() { plane.Close() })
		working.Go(func() { _, _ = relay.Open(s.ctx, &tunnelv1.Meta{}) })
	}
	working.Wait()
	s.ended(plane)
	s.ended(relay)
}
