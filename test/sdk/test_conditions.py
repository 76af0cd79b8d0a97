"""Row `conditions`: a task waits until somebody gives it a value."""

import http.server
import json
import threading

import connectrpc.code
import connectrpc.errors
import flyte
import flyte.errors
import flyte.remote
import httpx
import pytest

import record
from conftest import until
from programs import conditions


def waiting(run_name: str, n: int) -> dict[str, flyte.remote.Condition]:
    """The run's conditions by name, once there are n that wait."""

    def paused():
        found = {c.name: c for c in flyte.remote.Condition.listall(run_name=run_name)}
        return found if [c.phase for c in found.values()] == ["ACTION_PHASE_PAUSED"] * n else None

    return until(paused, 60, message="the conditions did not come up")


def refused(code, call, *args):
    with pytest.raises(connectrpc.errors.ConnectError) as caught:
        call(*args)
    assert caught.value.code == code, caught.value
    return caught.value.message


def test_every_payload_type(plane):
    run = flyte.run(conditions.every_type)
    asked = waiting(run.name, 4)
    assert {n: c.expected_type for n, c in asked.items()} == {"agree": bool, "count": int, "share": float, "words": str}
    assert run.name in [r.name for r in flyte.remote.Run.listall(paused_actions_only=True)]
    shown = plane.cli("get", "condition", run.name).stdout
    assert all(name in shown for name in asked)

    # Values of other types are refused, and change nothing.
    wrong = {"agree": 1, "count": "3", "share": 3, "words": True}
    for name, value in wrong.items():
        message = refused(connectrpc.code.Code.INVALID_ARGUMENT, asked[name].signal, value)
        assert "payload" in message, message
    assert [c.phase for c in flyte.remote.Condition.listall(run_name=run.name)] == ["ACTION_PHASE_PAUSED"] * 4

    # Two by the CLI, which shows the prompt, two by the SDK.
    assert "How many?" in plane.cli("signal", "condition", run.name, asked["count"].action_name, "42").stdout
    plane.cli("signal", "condition", run.name, asked["share"].action_name, "0.25")
    asked["agree"].signal(False)
    asked["words"].signal("yes, ünïcode 🙂")

    assert record.finish(run).phase == "SUCCEEDED"
    assert tuple(run.outputs()) == (False, 42, 0.25, "yes, ünïcode 🙂")
    recorded = record.actions(run.name)
    assert sorted(a.task for a in recorded[1:]) == ["agree", "count", "share", "words"]
    for a in recorded[1:]:
        assert a.phase == "SUCCEEDED" and a.parent == "a0" and len(a.attempts) == 1 and a.start <= a.end
    value = flyte.remote.ActionDetails.get(run_name=run.name, name=asked["words"].action_name).pb2.signal_info.output
    assert value.scalar.primitive.string_value == "yes, ünïcode 🙂"
    assert run.name not in [r.name for r in flyte.remote.Run.listall(paused_actions_only=True)]

    # It has its value; nobody can change it.
    refused(connectrpc.code.Code.FAILED_PRECONDITION, asked["count"].signal, 43)
    missing = flyte.remote.Condition(pb2=asked["count"].pb2)
    missing.pb2.id.name = "nothere"
    refused(connectrpc.code.Code.NOT_FOUND, missing.signal, 1)
    root = flyte.remote.Condition(pb2=run.pb2.action)
    refused(connectrpc.code.Code.FAILED_PRECONDITION, root.signal, 1)


def test_timeout(plane):
    run = flyte.run(conditions.impatient)
    assert record.finish(run).phase == "SUCCEEDED"
    assert run.outputs()[0].startswith("timed out: ")
    _, condition = record.actions(run.name)
    assert condition.phase == "TIMED_OUT" and condition.code == "TimedOut"
    assert 0.5 <= condition.end - condition.start < 30
    late = next(iter(flyte.remote.Condition.listall(run_name=run.name)))
    refused(connectrpc.code.Code.FAILED_PRECONDITION, late.signal, "too late")


def test_aborted_while_it_waits(plane):
    """A condition that is aborted tells the task so; so does a run that is."""
    alone = flyte.run(conditions.ask, question="first")
    whole = flyte.run(conditions.ask, question="second")
    condition = waiting(alone.name, 1)["first"]
    plane.cli("abort", "action", alone.name, condition.action_name, "--reason", "nobody is there")
    waiting(whole.name, 1)
    whole.abort("not needed")
    assert record.finish(whole).phase == "ABORTED"
    assert [a.phase for a in record.actions(whole.name)] == ["ABORTED", "ABORTED"]
    root = record.finish(alone)
    assert root.phase == "FAILED" and root.code == "ActionAbortedError", root
    assert [(a.phase, a.message) for a in record.actions(alone.name)[1:]] == [("ABORTED", "nobody is there")]


@pytest.fixture
def told():
    """A server that keeps what is posted to it; the first post is turned away."""
    posts = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(503 if len(posts) == 1 else 200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", posts
    server.shutdown()
    server.server_close()


def test_webhook(plane, told):
    url, posts = told
    run = flyte.run(conditions.tell, url=url)
    until(lambda: len(posts) == 2, 60, message="the webhook was not tried again")
    assert posts[0] == posts[1]
    address = posts[1]["nested"][0]["to"]
    assert posts[1]["text"] == f"how much? answer at {address}"
    assert httpx.get(address).status_code == 405, "a link that is only looked at answers nothing"
    assert httpx.post(address + "x", json=1).status_code == 403
    wrong = httpx.post(address, json="much")
    assert wrong.status_code == 400 and "float" in wrong.text
    assert httpx.post(address, json={"value": 3}).status_code == 204
    assert record.finish(run).phase == "SUCCEEDED"
    assert run.outputs()[0] == 3.0
    assert httpx.post(address, json=4.5).status_code == 409
