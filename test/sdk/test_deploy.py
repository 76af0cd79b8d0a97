"""Deployed tasks: versions, the latest of them, run by reference, listed and filtered."""

import contextlib
import pathlib
import sqlite3

import flyte
import flyte.errors
import flyte.remote
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyte.remote import Task

import record
from conftest import until
from programs import shop


@pytest.fixture
def project(plane):
    """A project that only this module's tests fill."""
    try:
        flyte.remote.Project.create("deploy", "Deploy")
    except ConnectError as exists:
        assert exists.code == Code.ALREADY_EXISTS
    plane.init(project="deploy")
    return "deploy"


def versions(name: str) -> list[str]:
    return [t.version for t in Task.listall(by_task_name=name, sort_by=("created_at", "desc"))]


def test_versions_and_reference(plane, project):
    flyte.deploy(shop.back, version="b1")
    flyte.deploy(shop.env, version="v1")
    flyte.deploy(shop.env, version="v2")
    assert versions("shop.who") == ["v2", "v1"]

    # A task that was deployed runs by reference, and calls another one that was deployed.
    sell = Task.get("shop.sell", auto_version="latest")
    details = sell.fetch()
    assert (details.version, details.task_type, details.required_args, details.default_input_args) == ("v2", "python", ("grams",), ("price",))
    run = flyte.run(sell, grams=9)
    root = record.finish(run)
    assert (root.phase, root.task, run.outputs()[0]) == ("SUCCEEDED", "shop.sell", 30)
    recorded = record.actions(run.name)
    assert [(a.task, a.phase, len(a.attempts)) for a in recorded] == [("shop.sell", "SUCCEEDED", 1), ("shop-back.weigh", "SUCCEEDED", 1)]
    assert run.pb2.action.metadata.task.id.version == "v2"

    old = flyte.run(Task.get("shop.who", version="v1"))
    assert record.finish(old).phase == "SUCCEEDED" and old.outputs()[0] == "v1"

    # The same content under the same version again makes it the latest one; other content changes nothing.
    flyte.deploy(shop.env, version="v1")
    assert versions("shop.who") == ["v1", "v2"]
    assert Task.get("shop.who", auto_version="latest").fetch().version == "v1"
    other = flyte.TaskEnvironment(name="shop", env_vars={"OTHER": "1"})
    other.task(shop.who.func)
    flyte.deploy(other, version="v1")  # the SDK takes "exists" for done
    assert dict((kv.key, kv.value) for kv in Task.get("shop.who", version="v1").fetch().pb2.spec.task_template.container.env).get("OTHER") is None


def test_lists(plane, project):
    flyte.deploy(shop.back, version="l1")
    flyte.deploy(shop.env, version="l1")
    named = {t.name for t in Task.listall()}
    assert {"shop.sell", "shop.who", "shop-back.weigh"} <= named
    assert {t.name for t in Task.listall(by_task_env="shop-back")} == {"shop-back.weigh"}
    assert {t.name for t in Task.listall(entrypoint=True)} == {"shop.sell"}
    assert {t.name for t in Task.listall(by_task_name="shop.who")} == {"shop.who"}
    assert len(list(Task.listall(limit=1))) == 1
    by_name = [t.name for t in Task.listall(sort_by=("name", "desc"))]
    assert by_name == sorted(by_name, reverse=True)
    weigh = next(iter(Task.listall(by_task_name="shop-back.weigh")))
    assert (weigh.pb2.metadata.short_name, weigh.pb2.metadata.environment_name) == ("weigh", "shop-back")
    assert weigh.pb2.metadata.deployed_at.seconds > 0
    assert "shop.sell" not in {t.name for t in Task.listall(project="flytesnacks")}
    with pytest.raises(ConnectError, match='"nowhere" does not exist') as unknown:
        list(Task.listall(project="nowhere"))
    assert unknown.value.code == Code.NOT_FOUND


def test_what_is_not_there(plane, project):
    with pytest.raises(flyte.errors.RemoteTaskNotFoundError):
        Task.get("shop.nothing", version="v1").fetch()
    with pytest.raises(flyte.errors.RemoteTaskNotFoundError):
        Task.get("shop.nothing", auto_version="latest").fetch()
    before = len(list(flyte.remote.Run.listall()))
    with pytest.raises(Exception, match="(?i)not found"):
        flyte.run(Task.get("shop.nothing", version="v1"))
    assert len(list(flyte.remote.Run.listall())) == before


def test_cli(plane, project):
    here = pathlib.Path(__file__).parent
    shown = plane.cli("deploy", "--project", project, "--version", "c1", "programs/shop.py", "env", cwd=str(here)).stdout
    assert "shop.sell" in shown and "c1" in shown
    assert Task.get("shop.sell", version="c1").fetch().version == "c1"
    listed = plane.cli("get", "task", "--project", project, "shop.sell").stdout
    assert "c1" in listed
    assert "'version': 'c1'" in plane.cli("get", "task", "--project", project, "shop.sell", "c1").stdout
    dry = plane.cli("deploy", "--project", project, "--version", "never", "--dry-run", "programs/shop.py", "env", cwd=str(here))
    assert "never" in dry.stdout and "never" not in versions("shop.sell")

    # Run by reference, from the command line.
    plane.cli("deploy", "--project", project, "--version", "c1", "programs/shop.py", "back", cwd=str(here))
    done = plane.cli("run", "--project", project, "--name", "by-reference", "deployed-task", "shop-back.weigh", "--grams", "4")
    assert "by-reference" in done.stdout + done.stderr
    run = flyte.remote.Run.get(name="by-reference")
    assert record.finish(run).phase == "SUCCEEDED" and run.outputs()[0] == 5


def test_the_control_plane_knows_the_names(plane, project):
    flyte.deploy(shop.back, version="n1")
    run = flyte.run(Task.get("shop-back.weigh", version="n1"), grams=1)
    assert record.finish(run).phase == "SUCCEEDED"

    def known():
        with contextlib.suppress(AssertionError):  # it has not heard of the run yet
            ledger = plane.ledger(run.name)
            return ledger if ledger["run"]["phase"] == "PHASE_SUCCEEDED" else None

    ledger = until(known, 30, message="the control plane did not hear of the run")
    assert (ledger["run"]["task"], ledger["run"]["taskVersion"]) == ("shop-back.weigh", "n1")
    (action,) = ledger["actions"]
    assert action["inputsUri"].startswith("file:///") and action["outputsUri"].startswith("file:///")
    with contextlib.closing(sqlite3.connect(f"file:{plane.state}/control/control.db?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT name, version FROM tasks WHERE project = ?", (project,)).fetchall()
    assert ("shop-back.weigh", "n1") in rows
