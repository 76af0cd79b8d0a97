package rpc

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"connectrpc.com/grpchealth"

	"biplane.dev/biplane/internal/fault"
)

// ready is nil when the server takes work.
func (s *Server) ready(ctx context.Context) error {
	if s.stopping.Err() != nil {
		return errStopping
	}
	return s.config.Ready(ctx)
}

func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	if err := s.ready(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// health answers gRPC's standard health check, for the whole server (an empty name) or one mounted service.
type health struct{ *Server }

func (h health) Check(ctx context.Context, request *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if request.Service != "" && !slices.Contains(h.services, request.Service) {
		return nil, fault.NotFound("service", request.Service)
	}
	if h.ready(ctx) != nil {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}
