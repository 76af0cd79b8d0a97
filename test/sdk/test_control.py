"""Row `control`: runs and actions are stopped by a client, by the CLI and by a sibling; nothing of them stays alive."""

import os
import pathlib
import time

import flyte
import flyte.remote
import pytest

import record
from conftest import until
from programs import control


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o777)
    return tmp_path


def wait_for(folder: pathlib.Path, name: str) -> str:
    path = folder / name
    until(path.exists, 90, message=f"no task wrote {name}")
    return path.read_text()


def alive(pids: str) -> list[int]:
    """Those processes that are there and are no zombies."""
    found = []
    for pid in pids.split():
        try:
            state = pathlib.Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            continue
        if state != "Z":
            found.append(int(pid))
    return found


def one_attempt(action: record.Action) -> bool:
    return len(action.attempts) == 1 and action.attempts[0].phase == action.phase


def test_abort_of_a_run(plane, folder):
    run = flyte.run(control.family, folder=str(folder))
    pids = wait_for(folder, "one") + " " + wait_for(folder, "two")
    assert len(alive(pids)) == 4
    plane.cli("abort", "run", run.name, "--reason", "changed my mind")
    root = record.finish(run)
    assert root.phase == "ABORTED" and root.message == "changed my mind"
    # The root can be gone a moment before its children's processes are.
    until(lambda: [a.phase for a in record.actions(run.name)] == ["ABORTED"] * 4, 60, message="not everything was aborted")
    assert alive(pids) == [], "an aborted action is terminal only when nothing of it is alive"
    actions = record.actions(run.name)
    assert all(one_attempt(a) for a in actions), "an aborted action is not tried again"
    # Aborting again changes nothing, by either way.
    run.abort("once more")
    plane.cli("abort", "run", run.name)
    assert record.actions(run.name) == actions
    until(lambda: plane.ledger(run.name)["run"]["phase"] == "PHASE_ABORTED", 30)


def test_abort_of_one_action(plane, folder):
    run = flyte.run(control.carries_on, folder=str(folder))
    pids = wait_for(folder, "child")
    child = next(a for a in flyte.remote.Action.listall(for_run_name=run.name) if a.name != "a0")
    plane.cli("abort", "action", run.name, child.name, "--reason", "this one only")
    root = record.finish(run)
    assert root.phase == "SUCCEEDED" and run.outputs()[0].startswith("ActionAbortedError: ")
    assert alive(pids) == []
    actions = {a.task: a for a in record.actions(run.name)}
    assert {t: a.phase for t, a in actions.items()} == {
        "control.carries_on": "SUCCEEDED", "control.wait_for_ever": "ABORTED", "control_sleeps.nap": "SUCCEEDED",
    }
    assert actions["control.wait_for_ever"].message == "this one only"
    assert one_attempt(actions["control.wait_for_ever"])


def test_cancelled_siblings(plane, folder):
    run = flyte.run(control.first_wins, folder=str(folder))
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == "CancelledError CancelledError"

    def settled():
        found = record.actions(run.name)
        return found if all(a.end for a in found) else None

    actions = until(settled, 60, message="the cancelled children did not end")
    assert sorted((a.task, a.phase) for a in actions[1:]) == [
        ("control.wait_for_ever", "ABORTED"), ("control_sleeps.nap", "ABORTED"), ("control_sleeps.nap", "SUCCEEDED"),
    ]
    assert alive((folder / "slow").read_text()) == []


def test_grace(own_plane, folder):
    """SIGTERM first: a task may clean up. SIGKILL after the grace period for one that does not end."""
    grace = 2
    own_plane(f"--plane=--grace={grace}s")
    stubborn = flyte.run(control.ignores, folder=str(folder))
    polite = flyte.run(control.cleans_up, folder=str(folder))
    pids = wait_for(folder, "polite") + " " + wait_for(folder, "stubborn")
    assert len(alive(pids)) == 2
    began = time.time()
    stubborn.abort("now")
    polite.abort("now")
    assert record.finish(polite).phase == "ABORTED"
    assert (folder / "goodbye").read_text() == "15"
    assert record.finish(stubborn).phase == "ABORTED"
    assert float(wait_for(folder, "heard")) >= began
    assert alive(pids) == []
    (attempt,) = record.action(stubborn.name).attempts
    assert attempt.end - began >= grace, "it was killed before its time"


def test_nothing_starts_after_an_abort(plane, folder):
    """A run is aborted while its parent makes one child after another as fast as it can."""
    run = flyte.run(control.floods, folder=str(folder), n=100_000)
    pid = wait_for(folder, "flooding")

    def count():
        return sum(1 for _ in flyte.remote.Action.listall(for_run_name=run.name))

    until(lambda: count() > 50, 60, message="no children came")
    run.abort("enough")
    assert record.finish(run).phase == "ABORTED"
    assert alive(pid) == []
    root = record.action(run.name)
    actions = list(flyte.remote.Action.listall(for_run_name=run.name))
    assert {a.phase for a in actions} <= {"aborted", "succeeded"}
    assert all(a.pb2.status.start_time.ToNanoseconds() <= root.end * 1e9 + 1e6 for a in actions)
    assert all(a.pb2.status.HasField("end_time") for a in actions)
    assert count() == len(actions)
    assert not os.path.exists(folder / "refused") or "abort" in (folder / "refused").read_text().lower()


def test_abort_of_what_waits(own_plane, folder):
    """What has not started never starts, and ends at once."""
    own_plane("--plane=--cpu=1")
    run = flyte.run(control.family, folder=str(folder))

    def one_runs():
        return next((n for n in ("one", "two") if (folder / n).exists()), None)

    first = until(one_runs, 90, message="no child was started")
    until(lambda: len(record.actions(run.name)) == 4, 30)
    run.abort()
    assert record.finish(run).phase == "ABORTED"
    other = "two" if first == "one" else "one"
    # The root can be gone a moment before its child's processes are: an action ends when nothing of it is alive.
    until(lambda: [a.phase for a in record.actions(run.name)] == ["ABORTED"] * 4, 60, message="not everything was aborted")
    assert not (folder / other).exists(), "an action that waited was started after the abort"
