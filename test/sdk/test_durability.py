"""Row `durability`: parents, planes and demos that are killed, and nothing that had ended is executed again."""

import os
import pathlib
import signal
import threading

import flyte
import flyte.remote
import pytest

import record
from conftest import stop_demo, until
from programs import durable


@pytest.fixture
def side(tmp_path):
    folder = tmp_path / "side"
    folder.mkdir()
    return folder


def lines(folder: pathlib.Path, name: str) -> list[str]:
    path = folder / name
    return path.read_text().splitlines() if path.exists() else []


def starts(folder: pathlib.Path, name: str) -> list[int]:
    """The processes that began to execute something, in order."""
    return [int(line.split()[1]) for line in lines(folder, name) if line.startswith("start")]


def let_go(folder: pathlib.Path, *steps: int) -> None:
    for n in steps:
        (folder / f"go{n}").touch()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_parent_that_is_killed_replays(plane, side):
    """kill -9 of the parent, twice: once between two children, once while children run."""
    run = flyte.run(durable.parent, folder=str(side))
    until(lambda: starts(side, "step1"), message="the first child did not start")
    let_go(side, 1)
    until(lambda: starts(side, "step2") and starts(side, "step3"), message="the later children did not start")
    os.kill(starts(side, "parent")[0], signal.SIGKILL)
    until(lambda: len(lines(side, "seen")) == 2, message="the parent did not come as far as before")
    let_go(side, 2)
    until(lambda: any(a.task == "durable.step" and a.phase == "SUCCEEDED" and a.group == "later" for a in record.actions(run.name)))
    os.kill(starts(side, "parent")[1], signal.SIGKILL)
    until(lambda: len(lines(side, "seen")) == 3, message="the parent did not come as far as before")
    let_go(side, 3)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == {
        "attempt": "2", "first": "1", "looked up": "ü1", "later": "4 9", "looked up again": "ü2",
        "fails_once": "mended", "fails_for_good": "NoCustomer: no such customer",
    }  # fmt: skip
    assert [(a.phase, a.code) for a in root.attempts] == [("FAILED", "Interrupted"), ("FAILED", "Interrupted"), ("SUCCEEDED", "")]
    for n in (1, 2, 3):
        assert len(starts(side, f"step{n}")) == 1, f"step {n} was executed again"
    assert len(lines(side, "trace1")) == len(lines(side, "trace2")) == 1, "a trace was called again"
    assert len(lines(side, "fails_for_good")) == 1, "a trace that failed for good was called again"
    assert 2 <= len(lines(side, "fails_once")) <= 3, "a trace whose failure may pass is called again"
    assert lines(side, "seen")[0] == "0 ValueError: the service was away | NoCustomer: no such customer"

    actions = record.actions(run.name)
    assert len(actions) == 8, "one action for each child and each trace, however often the parent ran"
    assert {a.phase for a in actions if a.task == "durable.step"} == {"SUCCEEDED"}
    assert all(len(a.attempts) == 1 for a in actions if a.parent)
    traces = {a.task: a for a in actions if a.task in ("fails_for_good", "looked_up")}
    assert (traces["fails_for_good"].phase, traces["fails_for_good"].code) == ("FAILED", "NoCustomer")
    assert traces["fails_for_good"].message == "no such customer"
    assert traces["looked_up"].phase == "SUCCEEDED" and traces["looked_up"].start <= traces["looked_up"].end


def test_a_data_plane_that_is_killed(own_plane, side):
    """kill -9 of biplane-data, three times, while a parent and its children run and a client waits."""
    plane = own_plane()
    run = flyte.run(durable.steadfast, folder=str(side))
    waiting = threading.Thread(target=lambda: run.wait(quiet=True), daemon=True)
    waiting.start()

    def kill_the_plane():
        (old,) = plane.pids("biplane-data")
        os.kill(old, signal.SIGKILL)
        until(lambda: [p for p in plane.pids("biplane-data") if p != old], 30, message="the demo did not start its data plane again")

    until(lambda: starts(side, "step1"), message="the first child did not start")
    kill_the_plane()
    let_go(side, 1)
    until(lambda: starts(side, "step2") and starts(side, "step3"), message="the parent did not go on after a kill of its plane")
    kill_the_plane()
    let_go(side, 2)
    until(lambda: any(line.startswith("end") for line in lines(side, "step2")))
    kill_the_plane()
    let_go(side, 3)
    waiting.join(120)
    assert not waiting.is_alive(), "the client still waits"
    assert run.outputs()[0] == [1, 4, 9]
    root = record.action(run.name)
    assert root.phase == "SUCCEEDED", root.message
    actions = record.actions(run.name)
    assert len(actions) == 4 and {a.phase for a in actions} == {"SUCCEEDED"}
    for name in ("steadfast", "step1", "step2", "step3"):
        assert len(starts(side, name)) == 1, f"{name} was made again, although its process was there to be adopted"
    assert all(len(a.attempts) == 1 and a.attempts[0].phase == "SUCCEEDED" for a in actions)
    for name in ("steadfast", "step1", "step2", "step3"):
        until(lambda: not alive(starts(side, name)[0]), 10, message=f"the process of {name} is still there")

    def reported():
        known = plane.ledger(run.name)
        return known if known["run"]["phase"] == "PHASE_SUCCEEDED" else None

    assert len(until(reported, 30, message="the control plane did not hear of the end")["actions"]) == 4


def left_over(state: pathlib.Path) -> list[str]:
    """Processes that have anything to do with a state folder: planes, runners, tasks."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            folder = os.readlink(entry / "cwd")
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if command and (str(state).encode() in command + environment or folder.startswith(str(state))):
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.mark.parametrize("whom", ["the demo", "the demo and both planes"])
def test_a_demo_that_is_killed(own_plane, side, tmp_path, whom):
    """kill -9 leaves no process behind; started again, it finishes what ran, and what had ended is not executed again."""
    state = tmp_path / "demo"
    plane = own_plane(state=state)
    run = flyte.run(durable.steadfast, folder=str(side))
    until(lambda: starts(side, "step1"), message="the first child did not start")
    let_go(side, 1)
    until(lambda: starts(side, "step2") and starts(side, "step3"), message="the later children did not start")
    victims = [plane.process.pid]
    if whom != "the demo":
        victims += plane.pids("biplane-control") + plane.pids("biplane-data")
        assert len(victims) == 3
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    plane.process.wait(10)
    # Planes notice at once that the demo has gone; tasks without a plane wait for it for 15 seconds.
    until(lambda: not left_over(state), 45, every=0.2, message="processes outlived the demo")

    again = own_plane(state=state)
    until(lambda: len(starts(side, "step2")) == 2 and len(starts(side, "step3")) == 2, message="the children were not made again")
    let_go(side, 2, 3)
    run = flyte.remote.Run.get(name=run.name)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == [1, 4, 9]
    assert len(starts(side, "step1")) == 1, "what had ended was executed again"
    assert len(root.attempts) == 2 and root.attempts[0].phase == "FAILED"
    assert [a.phase for a in record.actions(run.name)] == ["SUCCEEDED"] * 4
    stop_demo(again)
    until(lambda: not left_over(state), 30, every=0.2, message="processes outlived the demo that was stopped")
