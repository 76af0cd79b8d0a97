package link

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/gen/biplane/link/v1/linkv1connect"
	"biplane.dev/biplane/internal/fault"
)

// Control is what the control plane does with what its planes say. Calls for one plane come from one session at a time,
// but CommandsApplied and Commands may come from different goroutines.
type Control interface {
	// Hello begins a session and returns the cursor above which events are wanted. A database that was put back to an
	// older state is recognised by its lives, and gets cursor 0.
	Hello(ctx context.Context, plane Plane, hello *linkv1.Hello) (cursor int64, err error)
	// Apply stores the events and the cursor in one transaction, and returns the cursor. Events at or below the cursor are
	// ignored.
	Apply(ctx context.Context, plane Plane, events *linkv1.Events) (cursor int64, err error)
	// Heard notes a sign of life.
	Heard(ctx context.Context, plane Plane, health *linkv1.Health) error
	// Gone ends the session.
	Gone(plane Plane)
	// Commands returns up to limit commands with a number above after, in order.
	Commands(ctx context.Context, plane Plane, after int64, limit int) ([]*linkv1.Command, error)
	// CommandsApplied forgets the commands up to the cursor.
	CommandsApplied(ctx context.Context, plane Plane, cursor int64) error
}

// Gate decides which planes may have a session.
type Gate interface {
	// VerifyPlane says whose certificate this is, or refuses it. The certificate has been verified against the
	// authorities; from is the address that it came from. It is asked when a session begins, and may be asked again.
	VerifyPlane(ctx context.Context, certificate *x509.Certificate, from string) (Plane, error)
	// Admit is asked when a plane has said hello, before an older session of the same plane is ended.
	Admit(ctx context.Context, plane Plane, hello *linkv1.Hello, from string) error
}

// Server is the control plane's end of the link.
type Server struct {
	control   Control
	gate      Gate
	heartbeat time.Duration
	log       *slog.Logger

	mu       sync.Mutex
	closed   bool
	sessions map[Plane]*serverSession
	greeting map[*serverSession]struct{} // they have not said hello yet
	open     sync.WaitGroup              // of sessions
}

// NewServer makes the control plane's end. heartbeat 0 means DefaultHeartbeat.
func NewServer(control Control, gate Gate, heartbeat time.Duration, log *slog.Logger) *Server {
	if heartbeat == 0 {
		heartbeat = DefaultHeartbeat
	}
	return &Server{control: control, gate: gate, heartbeat: heartbeat, log: log, sessions: map[Plane]*serverSession{}, greeting: map[*serverSession]struct{}{}}
}

// Path is below what the link is served.
const Path = "/" + linkv1connect.LinkServiceName + "/"

// Handler serves the link at Path; it must be behind TLS that has verified the client's certificate. Close the Server before the listener's server waits for its requests.
func (s *Server) Handler() http.Handler {
	_, handler := linkv1connect.NewLinkServiceHandler(s, connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "the link needs a client certificate", http.StatusForbidden)
			return
		}
		certificate := r.TLS.VerifiedChains[0][0]
		plane, err := s.gate.VerifyPlane(r.Context(), certificate, r.RemoteAddr)
		if err != nil {
			s.log.Warn("a client was refused", "remote", r.RemoteAddr, "error", err)
			http.Error(w, "the client certificate is not that of a data plane, or is not good any more", http.StatusForbidden)
			return
		}
		session := &serverSession{server: s, plane: plane, certificate: certificate, from: r.RemoteAddr, response: http.NewResponseController(w), wake: make(chan struct{}, 1)}
		// The response must not be touched once the handler has returned.
		defer session.finish()
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, session)))
	})
}

// Wake tells the plane's session, if there is one, that there are new commands.
func (s *Server) Wake(plane Plane) {
	s.mu.Lock()
	session := s.sessions[plane]
	s.mu.Unlock()
	if session != nil {
		session.poke()
	}
}

// Close ends every session, refuses new ones, and waits until the last call of Control has returned.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, session := range s.sessions {
		session.stop(errClosing)
	}
	for session := range s.greeting {
		session.stop(errClosing)
	}
	s.mu.Unlock()
	s.open.Wait()
}

// Cut ends the plane's session, if there is one: nothing more is read from it, or sent. Whether the plane may come back is for
// the gate to say. It does not wait.
func (s *Server) Cut(plane Plane) {
	s.mu.Lock()
	session := s.sessions[plane]
	s.mu.Unlock()
	if session != nil {
		session.stop(errCut)
	}
}

var (
	errClosing    = errors.New("the control plane is stopping")
	errSuperseded = errors.New("the plane has opened a newer session")
	errCut        = errors.New("the control plane has cut this plane off")
)

// greet reads the hello of a session that is not the plane's yet.
func (s *Server) greet(session *serverSession) (*linkv1.Hello, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosing
	}
	s.greeting[session] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.greeting, session)
	}()
	first, err := session.read(welcomeTimeout)
	if err != nil {
		return nil, err
	}
	hello := first.GetHello()
	if hello == nil || len(hello.GetLives()) == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("the first message must be a hello that names the lives of the plane"))
	}
	return hello, nil
}

// begin registers the session; an older one of the same plane is ended first, since a plane that dials again knows better
// than a connection that may be dead.
func (s *Server) begin(session *serverSession) error {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return errClosing
		}
		older := s.sessions[session.plane]
		if older == nil {
			s.sessions[session.plane] = session
			s.open.Add(1)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		older.stop(errSuperseded)
		<-older.ended
	}
}

func (s *Server) end(session *serverSession) {
	s.control.Gone(session.plane)
	s.mu.Lock()
	delete(s.sessions, session.plane)
	s.mu.Unlock()
	close(session.ended)
	s.open.Done()
}

type sessionKey struct{}

// Connect serves one session.
func (s *Server) Connect(ctx context.Context, stream *connect.BidiStream[linkv1.FromPlane, linkv1.FromControl]) error {
	session, ok := ctx.Value(sessionKey{}).(*serverSession)
	if !ok {
		return connect.NewError(connect.CodeInternal, errors.New("the link was not reached through its handler"))
	}
	session.stream, session.ended = stream, make(chan struct{})
	err := s.serve(ctx, session)
	if why := session.why(); why != nil {
		err = why
	}
	var refused *connect.Error
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

func (s *Server) serve(ctx context.Context, session *serverSession) error {
	hello, err := s.greet(session)
	if err != nil {
		return err
	}
	if err := s.gate.Admit(ctx, session.plane, hello, session.from); err != nil {
		return refusal(err)
	}
	if err := s.begin(session); err != nil {
		return err
	}
	defer s.end(session)
	// Asked again: the plane may have been removed after it came in, and before the session could be found to be cut.
	if _, err := s.gate.VerifyPlane(ctx, session.certificate, session.from); err != nil {
		return refusal(err)
	}
	err = session.run(ctx, hello)
	s.log.Info("a plane's session has ended", "plane", session.plane.String(), "error", errors.Join(session.why(), err))
	return err
}

// refusal is what a plane is told that may not come in.
func refusal(err error) error {
	switch fault.KindOf(err) {
	case fault.KindDenied, fault.KindPrecondition, fault.KindNotFound:
		return connect.NewError(connect.CodePermissionDenied, err)
	default:
		return connect.NewError(connect.CodeUnavailable, err)
	}
}
