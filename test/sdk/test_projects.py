"""Projects: create, list, archive, update, and what an archived one still does."""

import flyte
import flyte.remote
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

import record
from programs import hello


def test_create_list_update(plane):
    flyte.remote.Project.create("weather", "Weather", description="Forecasts für alle", labels={"team": "sky"})
    created = flyte.remote.Project.get("weather").pb2
    assert (created.id, created.name, created.description, dict(created.labels.values)) == ("weather", "Weather", "Forecasts für alle", {"team": "sky"})
    assert [d.id for d in created.domains] == ["development", "staging", "production"]
    assert {"flytesnacks", "weather"} <= {p.pb2.id for p in flyte.remote.Project.listall()}

    flyte.remote.Project.update("weather", name="Climate")
    changed = flyte.remote.Project.get("weather").pb2
    assert (changed.name, changed.description, dict(changed.labels.values)) == ("Climate", "Forecasts für alle", {"team": "sky"})
    flyte.remote.Project.update("weather", description="", labels={"team": "sea"})
    changed = flyte.remote.Project.get("weather").pb2
    assert (changed.name, changed.description, dict(changed.labels.values)) == ("Climate", "", {"team": "sea"})

    with pytest.raises(ConnectError, match='"weather" exists already') as refused:
        flyte.remote.Project.create("weather", "Another")
    assert refused.value.code == Code.ALREADY_EXISTS
    assert flyte.remote.Project.get("weather").pb2.name == "Climate"
    for act in (lambda: flyte.remote.Project.get("nowhere"), lambda: flyte.remote.Project.update("nowhere", name="x")):
        with pytest.raises(ConnectError, match='project "nowhere" does not exist; .*flyte get project') as refused:
            act()
        assert refused.value.code == Code.NOT_FOUND


def test_an_archived_project_takes_no_work(plane):
    flyte.remote.Project.create("museum", "Museum")
    run = flyte.with_runcontext(project="museum", domain="staging").run(hello.square, x=4)
    run.wait(quiet=True)
    assert (run.pb2.action.id.run.project, run.pb2.action.id.run.domain) == ("museum", "staging")
    plane.init(project="museum", domain="staging")
    assert record.action(run.name).phase == "SUCCEEDED"

    flyte.remote.Project.get("museum").archive()
    assert "museum" not in {p.pb2.id for p in flyte.remote.Project.listall()}
    assert [p.pb2.id for p in flyte.remote.Project.listall(archived=True)] == ["museum"]
    with pytest.raises(Exception, match="(?s)museum.*archived.*flyte update project museum --unarchive"):
        flyte.run(hello.square, x=5)
    assert [r.name for r in flyte.remote.Run.listall()] == [run.name]
    assert flyte.remote.Run.get(name=run.name).outputs()[0] == 16  # what was done stays readable

    flyte.remote.Project.get("museum").unarchive()
    assert "museum" in {p.pb2.id for p in flyte.remote.Project.listall()}
    again = flyte.run(hello.square, x=5)
    assert record.finish(again).phase == "SUCCEEDED"


def test_unknown_project_and_domain(plane):
    with pytest.raises(Exception, match='project "nowhere" does not exist'):
        flyte.with_runcontext(project="nowhere").run(hello.square, x=1)
    with pytest.raises(Exception, match='domain "moon" does not exist; use one of development, staging, production'):
        flyte.with_runcontext(domain="moon").run(hello.square, x=1)


def test_cli(plane):
    plane.cli("create", "project", "--id", "terminal", "--name", "Terminal", "--label", "a=b")
    assert "terminal" in plane.cli("get", "project").stdout
    plane.cli("update", "project", "terminal", "--archive")
    assert "terminal" not in plane.cli("get", "project").stdout
    assert "terminal" in plane.cli("get", "project", "--archived").stdout
    plane.cli("update", "project", "terminal", "--unarchive", "--description", "back again")
    assert flyte.remote.Project.get("terminal").pb2.description == "back again"
    failed = plane.cli("get", "project", "nowhere", check=False)
    assert failed.returncode != 0 and "does not exist" in failed.stdout + failed.stderr
