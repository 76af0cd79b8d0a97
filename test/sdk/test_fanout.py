"""Row `fan-out`: many children of one parent, and what limits them."""

import collections
from datetime import timedelta

import flyte
import flyte.remote
from flyte.models import ActionPhase

import record
from programs import fanout


def most_at_once(actions) -> int:
    """The largest number of actions whose attempts overlapped."""
    edges = sorted([(a.attempts[0].start, 1) for a in actions] + [(a.end, -1) for a in actions])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def test_map_and_groups(plane):
    run, sync = flyte.run(fanout.maps), flyte.run(fanout.maps_sync)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == {
        "two lists": ["0.25", "0.4"],
        "partial": ["0.125", "0.25"],
        "exceptions": ["RuntimeUserError ZeroDivisionError", "2.0"],
        "group": ["0.75", "1.25"],
        "raised": ["ZeroDivisionError"],
    }
    actions = record.actions(run.name)
    assert collections.Counter(a.group for a in actions if a.parent) == {"fanout.divide_pairs": 2, "fanout.divide_map": 5, "the group": 2}
    assert collections.Counter(a.phase for a in actions) == {"SUCCEEDED": 8, "FAILED": 2}
    assert record.finish(sync).phase == "SUCCEEDED"
    assert sync.outputs()[0] == [0.0, 0.5]


def test_five_thousand_children(plane):
    run = flyte.run(fanout.naps_at_once, n=5000, length=timedelta(0), concurrency=0)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == 5000
    names = collections.Counter()
    for action in flyte.remote.Action.listall(for_run_name=run.name):
        names[action.name] += 1
        assert action.phase == ActionPhase.SUCCEEDED
    assert len(names) == 5001 and set(names.values()) == {1}, "every child once"


def test_limit_of_the_map(plane):
    """concurrency of flyte.map: no more than so many children exist at once."""
    run = flyte.run(fanout.naps_at_once, n=12, length=timedelta(milliseconds=300), concurrency=3)
    assert record.finish(run).phase == "SUCCEEDED"
    assert run.outputs()[0] == 12
    assert most_at_once([a for a in record.actions(run.name) if a.parent]) == 3


def test_limit_of_the_run(plane):
    """max_action_concurrency: all children are enqueued at once, and no more than so many run."""
    run = flyte.with_runcontext(max_action_concurrency=2).run(fanout.rests, n=5)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == 10
    children = [a for a in record.actions(run.name) if a.parent]
    assert len(children) == 5 and most_at_once(children) <= 2
