"""A plane that drains: it finishes what it has and takes no new runs, until it is taken back."""

import json

import flyte
import flyte.remote
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

import record
from conftest import start_demo, stop_demo, until
from programs import hello, waiting


def phase(plane) -> str:
    lines = plane.operator("planes", "drain", "local", "--no-wait", "--json").stdout
    return json.loads(lines[lines.rindex("\n{") + 1 if "\n{" in lines else 0 :])["phase"]


def test_drain(own_plane):
    plane = own_plane()
    busy = flyte.run(waiting.linger)
    until(lambda: record.action(busy.name).phase == "RUNNING", 60)
    assert "asked to take no new runs" in plane.operator("planes", "drain", "local", "--no-wait").stdout
    until(lambda: phase(plane) == "DRAIN_PHASE_DRAINING", 30)
    with pytest.raises(Exception, match="draining and takes no new runs") as refused:
        flyte.run(hello.main, n=1)
    cause = refused.value
    while cause is not None and not isinstance(cause, ConnectError):
        cause = cause.__cause__ or cause.__context__
    assert cause is None or cause.code == Code.FAILED_PRECONDITION
    assert record.action(busy.name).phase == "RUNNING", "what runs goes on"

    # It stays so over a restart, and is done when nothing is left.
    stop_demo(plane)
    again = start_demo(plane.state)
    try:
        again.init()
        with pytest.raises(Exception, match="draining"):
            flyte.run(hello.main, n=1)
        flyte.remote.Run.get(name=busy.name).abort("enough")
        until(lambda: phase(again) == "DRAIN_PHASE_DONE", 60)
        again.operator("planes", "drain", "local", "--undo")
        run = flyte.run(hello.main, n=1)
        assert record.finish(run).phase == "SUCCEEDED"
    finally:
        stop_demo(again)
