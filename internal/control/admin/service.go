package admin

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	"biplane.dev/biplane/gen/biplane/admin/v1/adminv1connect"
	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/control/identity"
	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
)

// Service is the AdminService of one organisation.
type Service struct {
	Org    string
	Ledger *ledger.Ledger
	Fleet  *fleet.Fleet
	// Identity adds and removes planes.
	Identity *identity.Authority
	// Cursor is how far a plane's history has been recorded.
	Cursor func(ctx context.Context, plane link.Plane) (int64, error)
	// Wake tells a plane's session that a command waits.
	Wake func(plane link.Plane)
}

var _ adminv1connect.AdminServiceHandler = (*Service)(nil)

// ListRuns implements AdminService.
func (s *Service) ListRuns(ctx context.Context, request *adminv1.ListRunsRequest) (*adminv1.ListRunsResponse, error) {
	filter := ledger.Filter{Org: s.Org, Project: request.GetProject(), Domain: request.GetDomain(), Phases: request.GetPhases()}
	runs, next, err := s.Ledger.Runs(ctx, filter, int(request.GetLimit()), request.GetPageToken())
	if err != nil {
		return nil, err
	}
	silent, err := s.silent(ctx)
	if err != nil {
		return nil, err
	}
	response := &adminv1.ListRunsResponse{NextPageToken: next}
	for _, run := range runs {
		response.Runs = append(response.Runs, runMessage(run, silent))
	}
	return response, nil
}

// GetRun implements AdminService.
func (s *Service) GetRun(ctx context.Context, request *adminv1.GetRunRequest) (*adminv1.GetRunResponse, error) {
	run, err := s.Ledger.Run(ctx, s.named(request))
	if err != nil {
		return nil, err
	}
	silent, err := s.silent(ctx)
	if err != nil {
		return nil, err
	}
	actions, next, err := s.Ledger.Actions(ctx, run.ID, int(request.GetLimit()), request.GetPageToken())
	if err != nil {
		return nil, err
	}
	counts, err := s.Ledger.Counts(ctx, run.ID)
	if err != nil {
		return nil, err
	}
	response := &adminv1.GetRunResponse{Run: runMessage(run, silent), NextPageToken: next}
	for _, action := range actions {
		response.Actions = append(response.Actions, actionMessage(action))
	}
	for phase := range linkv1.Phase(len(linkv1.Phase_name)) {
		if counts[phase] > 0 {
			response.Counts = append(response.Counts, &adminv1.PhaseCount{Phase: phase, Count: counts[phase]})
		}
	}
	return response, nil
}

// ListPlanes implements AdminService.
func (s *Service) ListPlanes(ctx context.Context, request *adminv1.ListPlanesRequest) (*adminv1.ListPlanesResponse, error) {
	planes, err := s.Fleet.Planes(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	standings, err := s.Identity.Standings(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	response := &adminv1.ListPlanesResponse{}
	for _, plane := range planes {
		if plane.Removed && !request.GetRemoved() {
			continue
		}
		cursor, err := s.Cursor(ctx, plane.Plane)
		if err != nil {
			return nil, err
		}
		response.Planes = append(response.Planes, planeMessage(plane, cursor, standings))
	}
	return response, nil
}

// AbortRun implements AdminService.
func (s *Service) AbortRun(ctx context.Context, request *adminv1.AbortRunRequest) (*adminv1.AbortRunResponse, error) {
	run, err := s.Ledger.Run(ctx, s.named(request))
	if err != nil {
		return nil, err
	}
	silent, err := s.silent(ctx)
	if err != nil {
		return nil, err
	}
	response := &adminv1.AbortRunResponse{Run: runMessage(run, silent)}
	if ledger.Ended(run.Phase) {
		return response, nil
	}
	abort := &linkv1.AbortRun{Run: &linkv1.RunID{Org: run.Org, Project: run.Project, Domain: run.Domain, Name: run.Name}, By: request.GetBy()}
	command := &linkv1.Command{Order: &linkv1.Command_AbortRun{AbortRun: abort}}
	if cleared := link.Scrub(command); len(cleared) > 0 {
		return nil, fault.Invalid("by", "must be a name: printable, at most 256 bytes")
	}
	plane := link.Plane{Org: run.Org, Name: run.Plane}
	if response.Command, err = s.Fleet.Order(ctx, plane, command); err != nil {
		return nil, err
	}
	s.Wake(plane)
	return response, nil
}

type runReference interface {
	GetName() string
	GetProject() string
	GetDomain() string
	GetPlane() string
}

func (s *Service) named(run runReference) ledger.Filter {
	return ledger.Filter{Org: s.Org, Name: run.GetName(), Project: run.GetProject(), Domain: run.GetDomain(), Plane: run.GetPlane()}
}

// silent tells since when the planes that do not report have been silent, by name.
func (s *Service) silent(ctx context.Context) (map[string]time.Time, error) {
	planes, err := s.Fleet.Planes(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	silent := map[string]time.Time{}
	for _, plane := range planes {
		if !plane.Reporting {
			silent[plane.Name] = plane.LastHeard
		}
	}
	return silent, nil
}

func runMessage(r ledger.Run, silent map[string]time.Time) *adminv1.Run {
	message := &adminv1.Run{
		Org: r.Org, Project: r.Project, Domain: r.Domain, Name: r.Name, Plane: r.Plane, Task: r.Task, TaskVersion: r.TaskVersion,
		Phase: r.Phase, Created: when(r.Created), Started: when(r.Started), Ended: when(r.Ended), Attempts: r.Attempts,
		ErrorCode: r.ErrorCode, ExitClass: r.ExitClass, Source: r.Source, Trigger: r.Trigger, Relation: r.Relation, RelatedTo: r.RelatedTo,
		CreatedBy: r.CreatedBy, AbortedBy: r.AbortedBy,
	}
	if since, ok := silent[r.Plane]; ok && !ledger.Ended(r.Phase) {
		message.NotReportingSince = timestamppb.New(since)
	}
	return message
}

func actionMessage(a ledger.Action) *adminv1.Action {
	return &adminv1.Action{
		Name: a.Name, Parent: a.Parent, Kind: a.Kind, ShortName: a.ShortName, Task: a.Task, TaskVersion: a.TaskVersion, Phase: a.Phase,
		Attempt: a.Attempt, Created: when(a.Created), Started: when(a.Started), Ended: when(a.Ended), CacheStatus: a.CacheStatus,
		ErrorCode: a.ErrorCode, ExitClass: a.ExitClass, InputsUri: a.InputsURI, OutputsUri: a.OutputsURI, Reason: a.Reason,
	}
}

// when turns the ledger's microseconds into a timestamp; 0 is "not yet".
func when(us int64) *timestamppb.Timestamp {
	if us == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMicro(us))
}
