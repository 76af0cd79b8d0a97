package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"biplane.dev/biplane/internal/fault"
)

// Server serves the mounted services on one listener.
type Server struct {
	config   Config
	options  []connect.HandlerOption
	refusals *connect.ErrorWriter
	metrics  *metrics
	conns    *connections
	bodies   *budget

	routes     map[string]http.Handler // by the path's first segment, "/name/" or "/name"
	procedures map[string]*procedure   // by path, "/pkg.Service/Method"
	services   []string

	unary, streams gate

	serving  atomic.Bool
	stopping context.Context // done when the server stops; streams end with it
	stop     context.CancelFunc
}

// A procedure is one RPC of a mounted service.
type procedure struct {
	path   string
	limit  int64 // bytes of a message
	stream bool  // either side may send more than one message
	// sends says that the client sends more than one message, so that its body has no end and no size.
	sends bool
}

// New is a server without services. Mount them before Serve.
func New(config Config) (*Server, error) {
	s := &Server{
		config:     config.withDefaults(),
		routes:     map[string]http.Handler{},
		procedures: map[string]*procedure{},
	}
	s.unary.max, s.streams.max = int64(s.config.Limits.Unary), int64(s.config.Limits.Streams)
	s.bodies = &budget{max: s.config.Limits.BodyBytes}
	s.conns = newConnections(s.config.Limits)
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.options = []connect.HandlerOption{
		connect.WithInterceptors(interceptor{s}),
		connect.WithCompressMinBytes(smallMessage),
		connect.WithConditionalHandlerOptions(func(spec connect.Spec) []connect.HandlerOption {
			limit := s.config.messageBytes(spec.Procedure)
			return []connect.HandlerOption{
				connect.WithReadMaxBytes(int(limit)),
				connect.WithCompression("gzip", func() connect.Decompressor { return newInflater(limit) }, newDeflater),
			}
		}),
	}
	s.refusals = connect.NewErrorWriter()
	var err error
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, err
	}
	s.routes["/healthz"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	s.routes["/readyz"] = http.HandlerFunc(s.serveReady)
	s.routes["/metrics"] = promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	s.mountStandard()
	return s, nil
}

// Options are what every Connect handler to be mounted must be made with: they bound its messages, map its errors and
// count its calls. Options of the handler's own, such as further interceptors, come after them.
func (s *Server) Options() []connect.HandlerOption { return slices.Clip(s.options) }

// Handle mounts a service; its arguments are what a generated constructor returns:
//
//	server.Handle(clusterconnect.NewClusterServiceHandler(service, server.Options()...))
//
// It panics when the path is taken or the service's descriptor is not linked in: both are errors of the program.
func (s *Server) Handle(path string, handler http.Handler) {
	name := strings.Trim(path, "/")
	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		panic(fmt.Sprintf("rpc: mount %s: %v", path, err))
	}
	service, ok := descriptor.(protoreflect.ServiceDescriptor)
	if !ok {
		panic(fmt.Sprintf("rpc: mount %s: not a service", path))
	}
	var procedures []*procedure
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		procedures = append(procedures, &procedure{
			path:   path + string(method.Name()),
			stream: method.IsStreamingClient() || method.IsStreamingServer(),
			sends:  method.IsStreamingClient(),
		})
	}
	s.services = append(s.services, name)
	s.mount(path, handler, procedures...)
}

// HandleHTTP mounts a plain HTTP handler at "/name/" (all paths below) or "/name". Nothing bounds its bodies or maps its
// errors but itself; the limits on connections and headers hold.
func (s *Server) HandleHTTP(path string, handler http.Handler) { s.route(path, handler) }

func (s *Server) mount(path string, handler http.Handler, procedures ...*procedure) {
	for _, p := range procedures {
		p.limit = s.config.messageBytes(p.path)
		s.procedures[p.path] = p
	}
	s.route(path, s.admit(handler))
}

func (s *Server) route(path string, handler http.Handler) {
	if s.serving.Load() {
		panic("rpc: mount " + path + ": the server is serving already")
	}
	if len(path) < 2 || path[0] != '/' || path == "//" || path != firstSegment(path) || s.routes[path] != nil {
		panic("rpc: mount " + path + `: want a free path of the form "/name/" or "/name"`)
	}
	s.routes[path] = handler
}

// mountStandard mounts gRPC health and reflection, which answer for whatever is mounted by the time they are asked.
func (s *Server) mountStandard() {
	path, handler := grpchealth.NewHandler(health{s}, s.options...)
	s.mount(path, handler, &procedure{path: path + "Check"}, &procedure{path: path + "Watch", stream: true})
	reflector := grpcreflect.NewReflector(grpcreflect.NamerFunc(func() []string { return s.services }))
	for _, mount := range []func(*grpcreflect.Reflector, ...connect.HandlerOption) (string, http.Handler){
		grpcreflect.NewHandlerV1, grpcreflect.NewHandlerV1Alpha,
	} {
		path, handler := mount(reflector, s.options...)
		s.mount(path, handler, &procedure{path: path + "ServerReflectionInfo", stream: true, sends: true})
	}
}

// ServeHTTP routes by the path's first segment. It does not clean the path: a handler sees what was asked, and refuses
// what it does not like.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handler := s.routes[firstSegment(r.URL.Path)]; handler != nil {
		handler.ServeHTTP(w, r)
		return
	}
	s.notServed(w, r)
}

// firstSegment is "/a/" of "/a/b/c", "/a/" of "/a/", and "/a" of "/a".
func firstSegment(path string) string {
	if path == "" {
		return path
	}
	if end := strings.IndexByte(path[1:], '/'); end >= 0 {
		return path[:end+2]
	}
	return path
}

// notServed answers an RPC client UNIMPLEMENTED in its own protocol, anybody else 404.
func (s *Server) notServed(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && s.refusals.IsSupported(r) {
		s.refuse(w, r, fault.New(fault.KindUnsupported, "%.200q is not served here", r.URL.Path))
		return
	}
	http.NotFound(w, r)
}

// refuse answers an RPC that no handler sees.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, f *fault.Fault) {
	if err := s.refusals.Write(w, r, connect.NewError(codes[f.Kind], f)); err != nil {
		s.config.Log.Debug("rpc: a refusal was not sent", "path", r.URL.Path, "err", err)
	}
}

// Serve answers on the listener until ctx is done, then stops: it accepts no more, ends streams with UNAVAILABLE, lets
// unary requests finish within the grace, and closes what is left. It closes the listener. It returns nil after a stop,
// and an error when the listener broke. A server serves once.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	if !s.serving.CompareAndSwap(false, true) {
		return errors.New("rpc: a server serves once")
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	limits := s.config.Limits
	server := &http.Server{
		Handler:           s,
		TLSConfig:         s.config.TLS.Clone(),
		Protocols:         &protocols,
		ReadHeaderTimeout: limits.HeaderTime,
		IdleTimeout:       limits.IdleTime,
		MaxHeaderBytes:    limits.HeaderBytes,
		ConnState:         s.conns.changed,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: limits.IdleTime / 6},
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		s.stop()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.Grace)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			server.Close()
		}
	}()
	var err error
	if s.config.TLS != nil {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		s.stop()
		return errors.Join(fmt.Errorf("serve on %s: %w", listener.Addr(), err), server.Close())
	}
	<-stopped
	return nil
}
