package admin

import (
	"context"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	"biplane.dev/biplane/gen/biplane/admin/v1/adminv1connect"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
)

// Placement is the PlacementService of one organisation.
type Placement struct {
	Org   string
	Fleet *fleet.Fleet
	// Wake tells a plane's session that a command waits.
	Wake func(plane link.Plane)
}

var _ adminv1connect.PlacementServiceHandler = (*Placement)(nil)

// DrainPlane implements PlacementService.
func (s *Placement) DrainPlane(ctx context.Context, request *adminv1.DrainPlaneRequest) (*adminv1.DrainPlaneResponse, error) {
	plane := link.Plane{Org: s.Org, Name: request.GetName()}
	if err := s.Fleet.Drain(ctx, plane, request.GetUndo(), by(request.GetBy())); err != nil {
		return nil, err
	}
	s.Wake(plane)
	status, err := s.status(ctx, request.GetName())
	return &adminv1.DrainPlaneResponse{Status: status}, err
}

// GetDrain implements PlacementService.
func (s *Placement) GetDrain(ctx context.Context, request *adminv1.GetDrainRequest) (*adminv1.GetDrainResponse, error) {
	status, err := s.status(ctx, request.GetName())
	return &adminv1.GetDrainResponse{Status: status}, err
}

func (s *Placement) status(ctx context.Context, name string) (*adminv1.DrainStatus, error) {
	planes, err := s.Fleet.Planes(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	for _, p := range planes {
		if p.Name == name && !p.Removed {
			return drainStatus(p), nil
		}
	}
	return nil, fault.NotFound("data plane", name)
}

func drainStatus(p fleet.Plane) *adminv1.DrainStatus {
	status := &adminv1.DrainStatus{
		Plane: p.Name, Phase: drainPhase(p.Drain.Wanted(), p.Health.GetDraining(), p.Health.GetRunsActive()), Ordered: stamp(p.Drain.Ordered), By: p.Drain.By,
		RunsLeft: p.Health.GetRunsActive(), AttemptsRunning: p.Health.GetAttemptsRunning(),
	}
	if !p.Reporting {
		status.NotReportingSince = stamp(p.LastHeard)
	}
	return status
}

// drainPhase: done is only what the plane itself says, since a plane that has not heard of the drain may accept a run at any moment.
func drainPhase(wanted, draining bool, runs int64) adminv1.DrainPhase {
	switch {
	case wanted && !draining:
		return adminv1.DrainPhase_DRAIN_PHASE_ORDERED
	case wanted && runs > 0:
		return adminv1.DrainPhase_DRAIN_PHASE_DRAINING
	case wanted:
		return adminv1.DrainPhase_DRAIN_PHASE_DONE
	case draining:
		return adminv1.DrainPhase_DRAIN_PHASE_REOPENING
	default:
		return adminv1.DrainPhase_DRAIN_PHASE_OPEN
	}
}
