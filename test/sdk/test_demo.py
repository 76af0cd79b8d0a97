"""`biplane demo`: what it says, how it ends, what it leaves behind, and one clear line for each thing that can be in its way."""

import os
import pathlib
import pty
import select
import shutil
import signal
import socket
import subprocess

import flyte
import flyte.remote
import pytest
from flyte.remote import Settings

import record
from conftest import BIPLANE, CACHE, Plane, start_demo, stop_demo, until
from programs import waiting


def demo(*flags: str, env: dict | None = None, timeout: float = 240) -> subprocess.CompletedProcess:
    """A demo without a terminal, until it ends."""
    command = [str(BIPLANE), "demo", "--port", "0", "--cache", str(CACHE), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)


def left(state: pathlib.Path) -> dict[int, str]:
    """Living processes that have to do with a state folder: by their command, their environment or where they are."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            seen = command + (entry / "environ").read_bytes() + os.readlink(entry / "cwd").encode()
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        if str(state).encode() in seen and ") Z " not in stat:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode()
    return found


def linger(plane: Plane) -> flyte.remote.Run:
    """A run whose task is really running."""
    plane.init()
    run = flyte.run(waiting.linger)
    until(lambda: record.action(run.name).phase == "RUNNING", 60)
    assert any("biplane-runner" in command for command in left(plane.state).values())
    return run


def test_first_and_second_start(tmp_path):
    state = tmp_path / "state"
    first = demo("--state", str(state))
    assert first.returncode == 0, first.stdout + first.stderr
    assert "result: the sum of the first 4 squares is 30" in first.stdout
    said = first.stdout
    for word in ("data plane", "http://localhost:", "control plane", str(state), "flyte.yaml", "biplane runs"):
        assert word in said, word
    assert not left(state)
    assert (state / "flyte.yaml").exists() and (state / "control").is_dir() and (state / "data").is_dir()

    second = demo("--state", str(state))
    assert second.returncode == 0 and "squares is 30" in second.stdout, second.stdout + second.stderr
    # What the first one did is still there, in both planes.
    plane = start_demo(state)
    try:
        plane.init()
        runs = list(flyte.remote.Run.listall())
        assert len(runs) == 2 and {record.action(r.name).phase for r in runs} == {"SUCCEEDED"}
        assert all(len(record.actions(r.name)) == 5 for r in runs)
        for run in runs:
            assert plane.ledger(run.name)["run"]["phase"] == "PHASE_SUCCEEDED"
    finally:
        stop_demo(plane)
    assert not left(state)


def test_a_first_run_that_fails(tmp_path):
    """The exit code says whether the run SUCCEEDED."""
    plane = start_demo(tmp_path / "state")
    plane.init()
    Settings.get_settings_for_edit().update_settings({"environment_variables": {"PYTHONHOME": "/nowhere"}})  # no task can start
    stop_demo(plane)
    failed = demo("--state", str(plane.state))
    assert failed.returncode == 1, failed.stdout
    assert "the first program did not succeed" in failed.stderr and "squares is" not in failed.stdout
    assert not left(plane.state)


def test_serve(tmp_path):
    """One line, then nothing; work is accepted; both planes have their own folder; SIGTERM ends it with 0."""
    plane = start_demo(tmp_path / "state")
    plane.init()
    assert [p.pb2.id for p in flyte.remote.Project.listall()]
    assert "endpoint: " + plane.endpoint in (plane.state / "flyte.yaml").read_text()
    assert len(plane.pids("biplane-data")) == len(plane.pids("biplane-control")) == 1
    assert not list(flyte.remote.Run.listall()), "no first program"
    stop_demo(plane)
    assert (plane.process.returncode, plane.process.stdout.read()) == (0, "")
    assert not left(plane.state)


def test_with_a_terminal(tmp_path):
    """It stays until Ctrl-C; the second time without a first program."""
    state = tmp_path / "state"
    for time_of_start in ("first", "second"):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [str(BIPLANE), "demo", "--port", "0", "--cache", str(CACHE), "--state", str(state)], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        said = ""

        def shown() -> bool:
            nonlocal said
            ready, _, _ = select.select([master], [], [], 1)
            if ready:
                said += os.read(master, 65536).decode(errors="replace")
            assert process.poll() is None, said
            return "Press Ctrl-C to stop" in said

        until(shown, 240, every=0)
        assert ("squares is 30" in said) == (time_of_start == "first"), said
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        os.close(master)
        assert not left(state)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays(tmp_path, end):
    """However it ends, with a task running; and the folder can be started again at once: the run goes on in a new attempt."""
    plane = start_demo(tmp_path / "state")
    run = linger(plane)
    before = left(plane.state)
    plane.process.send_signal(end)
    code = plane.process.wait(timeout=60)
    assert code == (0 if end != signal.SIGKILL else -signal.SIGKILL)
    if end != signal.SIGKILL:
        assert not left(plane.state)
    again = start_demo(plane.state)  # waits for what a killed one left
    try:
        assert not set(before) & set(left(plane.state)), "a process of the first demo is still there"
        again.init()
        until(lambda: record.action(run.name).phase == "RUNNING", 60)
        flyte.remote.Run.get(name=run.name).abort("enough")
        until(lambda: record.action(run.name).phase == "ABORTED", 60)
    finally:
        stop_demo(again)
    assert not left(plane.state)


def test_everything_is_killed(tmp_path):
    """kill -9 of the demo and both planes at the same instant: the task ends by itself when nobody comes back."""
    plane = start_demo(tmp_path / "state", "--plane=--orphan-grace=2s", "--plane=--grace=1s")
    linger(plane)
    for pid in [plane.process.pid, *plane.pids("biplane-data"), *plane.pids("biplane-control")]:
        os.kill(pid, signal.SIGKILL)
    plane.process.wait()
    until(lambda: not left(plane.state), 40, message="processes are left")
    again = start_demo(plane.state)
    stop_demo(again)


def test_killed_during_the_first_program(tmp_path):
    state = tmp_path / "state"
    process = subprocess.Popen([str(BIPLANE), "demo", "--port", "0", "--cache", str(CACHE), "--state", str(state)], stdout=subprocess.PIPE, text=True)
    until(lambda: any("hello.py" in command for command in left(state).values()), 120)
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not left(state), 40, message="processes are left")


def test_interrupted_before_the_result(tmp_path):
    """No result, no 0."""
    state = tmp_path / "state"
    process = subprocess.Popen([str(BIPLANE), "demo", "--port", "0", "--cache", str(CACHE), "--state", str(state)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: any("hello.py" in command for command in left(state).values()), 120)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and errors.strip().endswith("biplane: interrupted"), errors
    assert not left(state)


def test_a_plane_that_is_killed_is_started_again(tmp_path):
    plane = start_demo(tmp_path / "state")
    try:
        plane.init()
        for name in ("biplane-control", "biplane-data"):
            (victim,) = plane.pids(name)
            os.kill(victim, signal.SIGKILL)
            until(lambda: [p for p in plane.pids(name) if p != victim], 30)
        until(lambda: answers(plane), 30)
    finally:
        stop_demo(plane)
    assert "is started again" in (tmp_path / "state.log").read_text()


def answers(plane: Plane) -> bool:
    plane.init()
    try:
        return bool(list(flyte.remote.Project.listall()))
    except Exception:
        return False


def test_ephemeral(tmp_path):
    env = {"TMPDIR": str(tmp_path)}
    done = demo("--ephemeral", env=env)
    assert done.returncode == 0 and "squares is 30" in done.stdout, done.stdout + done.stderr
    assert not list(tmp_path.glob("biplane-demo-*"))

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious").write_text("keep")
    refused = demo("--ephemeral", "--state", str(mine))
    assert refused.returncode == 1 and "is not empty, and --ephemeral would remove it" in refused.stderr
    assert [p.name for p in mine.iterdir()] == ["precious"]

    named = tmp_path / "named"
    plane = start_demo(named, "--ephemeral")
    assert named.is_dir()
    stop_demo(plane)
    assert plane.process.returncode == 0 and not named.exists()


def one_line(result: subprocess.CompletedProcess, *words: str) -> None:
    """A failure is one line on stderr that says what is wrong and what to do."""
    assert result.returncode == 1, result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("biplane: "), result.stderr
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"
    assert "ready" not in result.stdout


def test_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = demo("--serve", "--state", str(tmp_path / "state"), "--port", str(port))
    one_line(result, f"port {port} is in use", "--port")
    assert not left(tmp_path / "state")
    one_line(demo("--serve", "--state", str(tmp_path / "state"), "--port", "70000"), "port 70000 cannot be used", "--port")


def test_missing_python(tmp_path):
    one_line(demo("--serve", "--state", str(tmp_path / "state"), env={"PATH": str(tmp_path)}), "python3 is not there", "install it")
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 308\n")
    old.chmod(0o755)
    one_line(demo("--serve", "--state", str(tmp_path / "state"), env={"PATH": str(tmp_path)}), "is Python 3.8", "3.10 or newer")


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    one_line(demo("--serve", "--state", str(tmp_path / "file" / "state")), "cannot be used", "--state DIR", "not a directory")
    one_line(demo("--serve", "--state", "/proc/biplane"), "cannot be used", "--state DIR")
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        one_line(demo("--serve", "--state", str(tmp_path / "locked" / "state")), "cannot be used", "permission denied")


def test_newer_state(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "version").write_text("99\n")
    one_line(demo("--serve", "--state", str(state)), "written by a newer biplane", "layout 99", "--state DIR")
    assert [p.name for p in state.iterdir()] == ["version"], "nothing was touched"
    (state / "version").write_text("something else\n")
    one_line(demo("--serve", "--state", str(state)), "is not a demo's state folder", "--state DIR")


def test_already_running(tmp_path):
    plane = start_demo(tmp_path / "state")
    try:
        one_line(demo("--serve", "--state", str(plane.state)), "a demo runs already", "flyte --config", "--state DIR")
        plane.init()
        assert list(flyte.remote.Project.listall()), "the first one is not disturbed"
    finally:
        stop_demo(plane)


def test_missing_programs(tmp_path):
    alone = tmp_path / "bin" / "biplane"
    alone.parent.mkdir()
    shutil.copy(BIPLANE, alone)
    result = subprocess.run([str(alone), "demo", "--serve", "--state", str(tmp_path / "state"), "--port", "0"], capture_output=True, text=True, timeout=60)
    one_line(result, "biplane-control is not there", "make build")
