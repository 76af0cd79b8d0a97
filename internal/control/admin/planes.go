package admin

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/control/identity"
	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// AddPlane implements AdminService.
func (s *Service) AddPlane(ctx context.Context, request *adminv1.AddPlaneRequest) (*adminv1.AddPlaneResponse, error) {
	if err := names.CheckLabel("name", request.GetName()); err != nil {
		return nil, err
	}
	life, err := tokenLife(request.GetTokenLife())
	if err != nil {
		return nil, err
	}
	plane := link.Plane{Org: s.Org, Name: request.GetName()}
	token, expires, err := s.Identity.Add(ctx, plane, life, by(request.GetBy()), func(tx store.WriteTx) error {
		return s.Fleet.Register(tx, plane, request.GetPool(), request.GetFrontDoors())
	})
	if err != nil {
		return nil, err
	}
	response := &adminv1.AddPlaneResponse{Token: token.Text(), TokenExpires: timestamppb.New(expires)}
	response.Plane = &adminv1.Plane{Org: plane.Org, Name: plane.Name, Enrolment: adminv1.Enrolment_ENROLMENT_INVITED, Expires: response.GetTokenExpires()}
	response.Plane.Pool, response.Plane.FrontDoors, err = s.Fleet.Place(ctx, plane)
	return response, err
}

// InvitePlane implements AdminService.
func (s *Service) InvitePlane(ctx context.Context, request *adminv1.InvitePlaneRequest) (*adminv1.InvitePlaneResponse, error) {
	life, err := tokenLife(request.GetTokenLife())
	if err != nil {
		return nil, err
	}
	token, expires, err := s.Identity.Invite(ctx, link.Plane{Org: s.Org, Name: request.GetName()}, life, by(request.GetBy()))
	if err != nil {
		return nil, err
	}
	return &adminv1.InvitePlaneResponse{Token: token.Text(), TokenExpires: timestamppb.New(expires)}, nil
}

// RemovePlane implements AdminService.
func (s *Service) RemovePlane(ctx context.Context, request *adminv1.RemovePlaneRequest) (*adminv1.RemovePlaneResponse, error) {
	plane := link.Plane{Org: s.Org, Name: request.GetName()}
	err := s.Identity.Remove(ctx, plane, by(request.GetBy()), func(tx store.WriteTx) error {
		return errors.Join(s.Fleet.Remove(tx, plane), ledger.ForgetStops(tx, plane))
	})
	return &adminv1.RemovePlaneResponse{}, err
}

// ListIdentityEvents implements AdminService.
func (s *Service) ListIdentityEvents(ctx context.Context, request *adminv1.ListIdentityEventsRequest) (*adminv1.ListIdentityEventsResponse, error) {
	events, err := s.Identity.Events(ctx, s.Org, request.GetPlane(), int(request.GetLimit()))
	if err != nil {
		return nil, err
	}
	response := &adminv1.ListIdentityEventsResponse{}
	for _, e := range events {
		response.Events = append(response.Events, &adminv1.IdentityEvent{At: timestamppb.New(e.At), Plane: e.Plane.Name, Event: e.What, By: e.Actor, Detail: e.Detail})
	}
	return response, nil
}

func tokenLife(life *durationpb.Duration) (time.Duration, error) {
	if life == nil {
		return 0, nil
	}
	if err := life.CheckValid(); err != nil || life.AsDuration() <= 0 {
		return 0, fault.Invalid("token_life", "must be a positive duration")
	}
	return life.AsDuration(), nil
}

// by is who asks, as a name that can be recorded.
func by(name string) string {
	if names.Check("by", name) != nil {
		return "operator"
	}
	return name
}

var enrolments = map[identity.State]adminv1.Enrolment{
	identity.Invited: adminv1.Enrolment_ENROLMENT_INVITED, identity.Lapsed: adminv1.Enrolment_ENROLMENT_LAPSED,
	identity.Enrolled: adminv1.Enrolment_ENROLMENT_ENROLLED, identity.Expired: adminv1.Enrolment_ENROLMENT_EXPIRED,
	identity.Removed: adminv1.Enrolment_ENROLMENT_REMOVED,
}

func planeMessage(p fleet.Plane, cursor int64, standings map[string]identity.Standing) *adminv1.Plane {
	h := p.Health
	message := &adminv1.Plane{
		Org: p.Org, Name: p.Name, Version: h.GetVersion(), Reporting: p.Reporting, Since: stamp(p.Since), LastHeard: stamp(p.LastHeard),
		CpuMillis: h.GetCpuMillis(), CpuMillisUsed: h.GetCpuMillisUsed(), MemoryBytes: h.GetMemoryBytes(), MemoryBytesUsed: h.GetMemoryBytesUsed(),
		AttemptsRunning: h.GetAttemptsRunning(), ActionsQueued: h.GetActionsQueued(), RunsActive: h.GetRunsActive(),
		Behind: max(0, h.GetHead()-cursor), CommandsPending: p.CommandsPending, Pool: p.Pool, FrontDoors: p.FrontDoors,
	}
	if standing, ok := standings[p.Name]; ok {
		message.Enrolment, message.Expires, message.Copied = enrolments[standing.State], stamp(standing.Expires), stamp(standing.Copied)
	}
	return message
}

// stamp is a time as a message; a zero time is none.
func stamp(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}
