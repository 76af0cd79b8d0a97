"""What the plane recorded, in plain values: a test compares these, not protocol messages."""

from __future__ import annotations

import dataclasses

import flyte
import flyte.remote


@dataclasses.dataclass
class Attempt:
    number: int
    phase: str
    code: str
    message: str
    start: float
    end: float


@dataclasses.dataclass
class Action:
    name: str
    task: str
    phase: str
    attempts: list[Attempt]
    code: str
    message: str
    kind: str
    cache: str
    parent: str
    group: str
    start: float
    end: float


def _phase(number: int) -> str:
    from flyteidl2.common import phase_pb2

    return phase_pb2.ActionPhase.Name(number).removeprefix("ACTION_PHASE_")


def _seconds(stamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def action(run: str, name: str = "a0") -> Action:
    """The record of one action."""
    from flyteidl2.core import catalog_pb2
    from flyteidl2.workflow import run_definition_pb2

    details = flyte.remote.ActionDetails.get(run_name=run, name=name).pb2
    attempts = [
        Attempt(a.attempt, _phase(a.phase), a.error_info.code, a.error_info.message, _seconds(a.start_time), _seconds(a.end_time)) for a in details.attempts
    ]
    meta = details.metadata
    return Action(
        name=details.id.name,
        task=meta.task.id.name or meta.trace.name or meta.condition.name,
        phase=_phase(details.status.phase),
        attempts=attempts,
        code=details.error_info.code,
        message=details.error_info.message or details.abort_info.reason,
        kind=run_definition_pb2.ErrorInfo.Kind.Name(details.error_info.kind).removeprefix("KIND_"),
        cache=catalog_pb2.CatalogCacheStatus.Name(details.status.cache_status),
        parent=meta.parent,
        group=meta.group,
        start=_seconds(details.status.start_time),
        end=_seconds(details.status.end_time),
    )


def actions(run: str) -> list[Action]:
    """The records of all actions of a run, in order of creation."""
    return [action(run, a.name) for a in flyte.remote.Action.listall(for_run_name=run)]


def finish(run) -> Action:
    """Wait for a run and return the record of its root."""
    run.wait(quiet=True)
    return action(run.name)
