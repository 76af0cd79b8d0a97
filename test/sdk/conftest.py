"""The stock SDK against the real binaries.

Every pytest process starts one demo (both planes, state in a temporary folder) and runs real programs on it. A test
gets the plane as a fixture and looks at two things: what the client saw, and what was recorded.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIPLANE = ROOT / "bin" / "biplane"
CACHE = pathlib.Path(os.environ.get("BIPLANE_TEST_CACHE") or pathlib.Path.home() / ".cache" / "biplane-test")

os.environ["DO_NOT_TRACK"] = "1"
os.environ["NO_PROXY"] = "localhost,127.0.0.1"
for name in ("FLYTECTL_CONFIG", "UCTL_CONFIG"):
    os.environ.pop(name, None)


def until(what, timeout=120.0, every=0.05, message="it did not happen"):
    """Poll until what() is true and return it; fail after the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, message
        time.sleep(every)


@dataclasses.dataclass
class Plane:
    """A running demo."""

    state: pathlib.Path
    process: subprocess.Popen

    @property
    def config(self) -> str:
        return str(self.state / "flyte.yaml")

    @property
    def endpoint(self) -> str:
        return "localhost:" + (self.state / "data" / "gateway.addr").read_text().strip().rsplit(":", 1)[1]

    def cli(self, *args: str, check: bool = True, cwd: str | None = None, env: dict | None = None, timeout: float = 300) -> subprocess.CompletedProcess:
        """Run the stock `flyte` CLI."""
        program = str(pathlib.Path(sys.executable).with_name("flyte"))
        result = subprocess.run(
            [program, "--config", self.config, *args], capture_output=True, text=True, cwd=cwd, timeout=timeout, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **(env or {})}
        )
        assert not check or result.returncode == 0, f"flyte {' '.join(args)}:\n{result.stdout}\n{result.stderr}"
        return result

    def operator(self, *args: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run our own `biplane` CLI."""
        result = subprocess.run([str(BIPLANE), *args, "--state", str(self.state)], capture_output=True, text=True, timeout=60)
        assert not check or result.returncode == 0, f"biplane {' '.join(args)}:\n{result.stdout}\n{result.stderr}"
        return result

    def ledger(self, run: str) -> dict:
        """What the control plane knows of a run."""
        return json.loads(self.operator("run", run, "--json").stdout)

    def pids(self, name: str) -> list[int]:
        """Processes of a binary that belong to this demo's state folder."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words and words[0].endswith(name.encode()) and any(str(self.state).encode() in w for w in words):
                found.append(int(entry.name))
        return found

    def init(self, **more):
        """Make this process a client of the plane."""
        import flyte
        from flyte.config._reader import get_config_file

        get_config_file.cache_clear()  # it remembers files by name, and a demo that is started again has another port
        flyte.init_from_config(self.config, root_dir=pathlib.Path(__file__).parent, **more)


def start_demo(state: pathlib.Path, *flags: str) -> Plane:
    log = open(state.parent / (state.name + ".log"), "w")
    process = subprocess.Popen(
        [str(BIPLANE), "demo", "--serve", "--state", str(state), "--port", "0", "--cache", str(CACHE), *flags],
        stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
    )
    line = process.stdout.readline()
    assert line == "ready\n", f"the demo did not start: {line!r}\n" + pathlib.Path(log.name).read_text()
    return Plane(state, process)


def stop_demo(plane: Plane) -> None:
    plane.process.send_signal(signal.SIGTERM)
    plane.process.wait(timeout=60)


@pytest.fixture(scope="session")
def environment() -> None:
    """The tasks' environment, made once before anything is timed out."""
    CACHE.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="session")
def shared_plane(tmp_path_factory, environment):
    plane = start_demo(tmp_path_factory.mktemp("demo") / "state")
    yield plane
    stop_demo(plane)
    shutil.rmtree(plane.state, ignore_errors=True)


@pytest.fixture
def plane(shared_plane):
    """The plane that the tests of this process share. The client is made anew, since a test before may have used a plane of its own."""
    shared_plane.init()
    return shared_plane


@pytest.fixture
def own_plane(tmp_path, environment):
    """Starts a plane for one test alone: own_plane("--plane=--cpu=1")."""
    started = []

    def start(*flags: str, state: pathlib.Path | None = None) -> Plane:
        plane = start_demo(state or tmp_path / f"state{len(started)}", *flags)
        started.append(plane)
        plane.init()
        return plane

    yield start
    for plane in started:
        if plane.process.poll() is None:
            stop_demo(plane)
