"""Two planes that are no demo: the operator adds a data plane, it enrols with a token, works, is removed, and comes back."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess

import flyte
import flyte.remote
import pytest

import record
from conftest import BIPLANE, CACHE, until
from programs import hello


@dataclasses.dataclass
class House:
    """A control plane in one folder, a data plane in another; what demo would do, by hand."""

    root: pathlib.Path
    running: dict = dataclasses.field(default_factory=dict)

    def start(self, name: str, *flags: str) -> None:
        """Start biplane-control or biplane-data and wait for the address that it writes."""
        state, address = {"control": (self.root / "control", "admin.addr"), "data": (self.root / "data", "gateway.addr")}[name]
        (state / address).unlink(missing_ok=True)
        log = open(self.root / f"{name}.log", "a")
        process = subprocess.Popen([str(BIPLANE.with_name(f"biplane-{name}")), "--state", str(state), "--lifeline", *flags], stdin=subprocess.PIPE, stdout=log, stderr=log)
        self.running[name] = process
        until(lambda: process.poll() is not None or (state / address).exists() and (state / address).read_text(), 60)
        assert process.poll() is None, (self.root / f"{name}.log").read_text()

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        process.stdin.close()

    def operator(self, *args: str) -> str:
        done = subprocess.run([str(BIPLANE), *args, "--state", str(self.root)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def enroll(self, token: str, folder: str = "data") -> subprocess.CompletedProcess:
        """The token goes by standard input, as with ssh."""
        control = (self.root / "control" / "link.addr").read_text().strip()
        command = [str(BIPLANE.with_name("biplane-data")), "enroll", "--state", str(self.root / folder), "--control", control]
        return subprocess.run(command, input=token, capture_output=True, text=True, timeout=60)

    def planes(self) -> dict[str, dict]:
        return {p["name"]: p for p in json.loads(self.operator("planes", "list", "--json")).get("planes", [])}

    def events(self) -> list[str]:
        return [e["event"] for e in json.loads(self.operator("planes", "events", "--json"))["events"]]

    def client(self) -> None:
        port = (self.root / "data" / "gateway.addr").read_text().strip().rsplit(":", 1)[1]
        flyte.init(endpoint=f"localhost:{port}", insecure=True, project="flytesnacks", domain="development", root_dir=pathlib.Path(__file__).parent, image_builder="remote")

    def run(self) -> str:
        run = flyte.run(hello.main, n=2)
        assert record.finish(run).phase == "SUCCEEDED"
        return run.name

    def recorded(self) -> dict[str, str]:
        return {r["name"]: r["phase"] for r in json.loads(self.operator("runs", "--json")).get("runs", [])}


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    for name in list(made.running):
        made.stop(name)


def test_a_plane_enrols_works_and_is_removed(house):
    data = ["--listen", "127.0.0.1:0", "--cache", str(CACHE), "--grace", "1s", "--end-attempts"]
    house.start("control")
    token = house.operator("planes", "add", "eu-1")
    refused = house.enroll(token.replace(token.split(".")[2][:6], "aaaaaa"))
    assert refused.returncode == 1 and token.split(".")[2][:20] not in refused.stderr, refused.stderr
    assert house.enroll(token).returncode == 0
    key = house.root / "data" / "tls" / "tls.key"
    assert key.stat().st_mode & 0o777 == 0o600

    # The plane finds its identity and the control plane by itself; what it does is recorded there.
    house.start("data", *data)
    house.client()
    first = house.run()
    until(lambda: house.recorded().get(first) == "PHASE_SUCCEEDED", 30)
    assert house.planes()["eu-1"]["reporting"]

    # A token is good once, also for the one who has stolen it.
    stolen = house.enroll(token, "thief")
    assert stolen.returncode == 1 and "used" in stolen.stderr, stolen.stderr
    assert house.planes()["eu-1"]["reporting"]

    # Removed: cut off at once, and refused from then on; the work inside the account goes on.
    house.operator("planes", "remove", "eu-1")
    until(lambda: not house.planes().get("eu-1", {}).get("reporting"), 30)
    second = house.run()
    house.stop("data")
    house.start("data", *data)
    house.client()
    assert flyte.remote.Run.get(name=second).phase.name == "SUCCEEDED"
    assert second not in house.recorded()

    # Enrolled anew, it tells what it did meanwhile.
    house.stop("data")
    assert house.enroll(house.operator("planes", "add", "eu-1")).returncode == 0
    house.start("data", *data)
    until(lambda: house.recorded() == {first: "PHASE_SUCCEEDED", second: "PHASE_SUCCEEDED"}, 30)
    assert {"added", "enrolled", "removed", "token used again"} <= set(house.events())
    for name in ("control.log", "data.log"):
        assert token.split(".")[2].strip()[:20] not in (house.root / name).read_text(), "the token stands in a log"
