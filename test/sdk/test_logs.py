"""Row `reports, logs, code`: what a task writes is read while it runs and after, in order and complete; so is its code."""

import logging
import pathlib
import tarfile

import connectrpc.code
import connectrpc.errors
import flyte
import flyte.remote
import pytest
from flyteidl2.dataproxy import dataproxy_service_connect, dataproxy_service_pb2
from flyteidl2.logs.dataplane import payload_pb2
from flyte.remote._logs import Logs

import record
from conftest import until
from programs import talking

HERE = pathlib.Path(__file__).parent


def lines(run, attempt=1, name="a0"):
    """What the SDK gets of a task's own lines, as it comes; of the runtime's nothing."""
    action = flyte.remote.Action.get(run_name=run.name, name=name)
    for line in Logs.tail(action_id=action.action_id, attempt=attempt):
        assert line.message.endswith("\n")
        assert line.timestamp.seconds > 0
        if line.originator == payload_pb2.LogLineOriginator.USER and "[flyte]" not in line.message:
            yield line.message[:-1]


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o777)
    return tmp_path


def test_many_lines(plane):
    """A hundred thousand, complete and in order: read from the first moment on, and again after the end."""
    n = 100_000
    run = flyte.run(talking.many, n=n)
    want = [f"line {i:06d}" for i in range(n)] + ["no end of line"]
    live = list(lines(run))
    assert record.finish(run).phase == "SUCCEEDED"
    assert live == want
    assert list(lines(run)) == want


def test_live_and_after(plane, folder):
    run = flyte.run(talking.live, folder=str(folder))
    run.wait(quiet=True, wait_for="running")
    heard = []
    for line in lines(run):
        heard.append(line)
        if not (folder / "heard").exists() and {"first: ünïcode 🙂", "on stderr"} <= set(heard):
            until(lambda: "half way" in report(run), 30)
            assert record.action(run.name).phase == "RUNNING"
            (folder / "heard").touch()
    assert record.finish(run).phase == "SUCCEEDED"
    after = heard[heard.index("last"):]
    assert after[1].startswith("not utf-8: ") and "\ufffd" in after[1]
    assert "".join(after[2:]) == "x" * 100_000, "a very long line comes in pieces, nothing of it missing"
    assert list(lines(run)) == heard
    assert "all of it" in report(run) and "half way" not in report(run)
    (attempt,) = flyte.remote.ActionDetails.get(run_name=run.name, name="a0").pb2.attempts
    assert attempt.logs_available and attempt.outputs.report_uri.endswith("/report.html")
    shown = plane.cli("get", "logs", run.name, "--show-ts").stdout
    assert "first: ünïcode" in shown and "last" in shown


def report(run, attempt=None) -> str:
    try:
        return flyte.remote.Run.get(name=run.name).get_report(attempt=attempt)
    except RuntimeError as e:
        assert "No report is available" in str(e)
        return ""


def test_each_attempt_has_its_own(plane, folder):
    run = flyte.run(talking.tries, folder=str(folder))
    assert record.finish(run).phase == "SUCCEEDED"
    for n in (1, 2):
        own = list(lines(run, n))
        assert [line for line in own if line.startswith("this is")] == [f"this is attempt {n}"]
        assert f"report of attempt {n}" in report(run, n)
    assert "report of attempt 2" in report(run)
    assert "this is attempt 1" in plane.cli("get", "logs", run.name, "a0", "--attempt", "1").stdout
    # An attempt that was never made.
    with pytest.raises(connectrpc.errors.ConnectError) as caught:
        with dataproxy_service_connect.DataProxyServiceClientSync("http://" + plane.endpoint) as client:
            list(client.tail_logs(dataproxy_service_pb2.TailLogsRequest(action_id=run.pb2.action.id, attempt=3)))
    assert caught.value.code == connectrpc.code.Code.NOT_FOUND


def test_run_and_follow(plane):
    """Ends by itself, after the last line."""
    shown = plane.cli("run", "--follow", "programs/talking.py", "many", "--n", "20", cwd=str(HERE), timeout=120).stdout
    assert "line 000019" in shown and "no end of line" in shown


def test_levels(plane):
    loud = flyte.with_runcontext(user_log_level=logging.DEBUG, log_level=logging.ERROR).run(talking.levels)
    quiet = flyte.with_runcontext(user_log_level=logging.ERROR, log_level=logging.DEBUG).run(talking.levels)
    shown = {}
    for name, run in (("loud", loud), ("quiet", quiet)):
        assert record.finish(run).phase == "SUCCEEDED"
        shown[name] = "".join(run.get_logs())
    for level in ("debug", "info", "warning", "error"):
        assert f"user {level}" in shown["loud"]
        assert (f"user {level}" in shown["quiet"]) == (level == "error")
    assert "DEBUG" in shown["quiet"] and "[flyte]" in shown["quiet"], "the runtime's own lines"
    assert "[flyte]" not in shown["loud"]
    assert "[flyte]" not in "".join(quiet.get_logs(filter_system=True))


def test_a_log_has_a_limit(own_plane):
    """What is over it is counted; the task goes on."""
    plane = own_plane("--plane=--log-bytes=20000")
    run = flyte.run(talking.many, n=5_000)
    assert record.finish(run).phase == "SUCCEEDED"
    kept = [line for line in lines(run) if line.startswith("line ")]
    assert 0 < len(kept) < 5_000 and kept == [f"line {i:06d}" for i in range(len(kept))]
    system = [line.message for line in Logs.tail(action_id=run.pb2.action.id, attempt=1) if line.originator == payload_pb2.LogLineOriginator.SYSTEM]
    assert any("limit" in message for message in system), system
    assert plane.process.poll() is None


def test_code(plane, folder):
    """The code of a run, of the run as a whole and of one of its actions: listed, unpacked, or as it was uploaded."""
    run = flyte.run(talking.levels)
    listed = plane.cli("get", "code", run.name).stdout
    assert "programs/talking.py" in listed
    plane.cli("get", "code", run.name, "--dest", str(folder / "code"))
    assert (folder / "code/programs/talking.py").read_bytes() == (HERE / "programs/talking.py").read_bytes()
    archive = flyte.remote.Action.get(run_name=run.name, name="a0").download_code(dest=folder / "archive", extract=False)
    with tarfile.open(archive) as tar:
        assert "programs/talking.py" in [m.name.removeprefix("./") for m in tar.getmembers()]
    run.abort()
    run.wait(quiet=True)
    assert "programs/talking.py" in plane.cli("get", "code", run.name, "a0").stdout, "also after its end"
