package relay

import (
	"context"
	"strings"

	"biplane.dev/biplane/internal/control/door"
	"biplane.dev/biplane/internal/link"
)

// target is where a name leads: to a plane, or to any plane of an organisation when Name is empty.
type target = link.Plane

// inZone reads <plane>.<org>.<zone> and <org>.<zone>. What else is in the zone may have been registered.
func inZone(name, zone string) (target, bool) {
	rest, ok := strings.CutSuffix(name, "."+zone)
	if zone == "" || !ok {
		return target{}, false
	}
	labels := strings.Split(rest, ".")
	for _, label := range labels {
		if label == "" {
			return target{}, false
		}
	}
	switch len(labels) {
	case 1:
		return target{Org: labels[0]}, true
	case 2:
		return target{Org: labels[1], Name: labels[0]}, true
	default:
		return target{}, false
	}
}

// resolve says where a name leads. A name of the zone cannot be registered for somebody else.
func (r *Relay) resolve(ctx context.Context, name string) (target, error) {
	if to, ok := inZone(name, r.config.Zone); ok {
		return to, nil
	}
	if r.config.FrontDoor == nil {
		return target{}, unknownName
	}
	if !r.mayLookUp() {
		return target{}, tooManyLookups
	}
	defer r.lookedUp()
	to, ok, err := r.config.FrontDoor(ctx, name)
	switch {
	case err != nil:
		r.log.Warn("relay: a front door was not looked up", "err", err)
		return target{}, notLookedUp
	case !ok:
		return target{}, unknownName
	}
	return to, nil
}

// nobody is why there is no way to the target: it is away, or there is no such plane.
func (r *Relay) nobody(ctx context.Context, to target) error {
	if !r.mayLookUp() {
		return tooManyLookups
	}
	defer r.lookedUp()
	if err := r.known(ctx, to); err != nil {
		return err
	}
	return planeAway
}

func (r *Relay) known(ctx context.Context, to target) error {
	if r.config.Known == nil {
		return nil
	}
	known, err := r.config.Known(ctx, to.Org, to.Name)
	switch {
	case err != nil:
		r.log.Warn("relay: a plane was not looked up", "err", err)
		return notLookedUp
	case !known:
		return unknownName
	}
	return nil
}

// mayLookUp keeps names that lead nowhere from occupying the database.
func (r *Relay) mayLookUp() bool {
	select {
	case r.lookups <- struct{}{}:
		return true
	default:
		return false
	}
}

func (r *Relay) lookedUp() { <-r.lookups }

// Why a connection is not carried. A client that asks for a plane that is away is told something else than one that asks for nobody.
var (
	unknownName    = &door.Refusal{Reason: "unknown_name", Alert: door.UnrecognizedName}
	planeAway      = &door.Refusal{Reason: "plane_away", Alert: door.InternalError}
	planeBusy      = &door.Refusal{Reason: "plane_busy"}
	addressBusy    = &door.Refusal{Reason: "plane_address_busy"}
	tooManyLookups = &door.Refusal{Reason: "too_many_lookups"}
	notLookedUp    = &door.Refusal{Reason: "lookup_failed", Alert: door.InternalError}
	stopping       = &door.Refusal{Reason: "stopping"}
)
