"""Settings: read and edited at three levels, with optimistic versions; a run honours the ones that concern it."""

import time

import flyte
import flyte.remote
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyte.remote import Settings

import record
from programs import settings as program


@pytest.fixture
def levels(plane):
    """The three levels of a project that only this test uses; what the broader ones hold is taken away again."""
    flyte.remote.Project.create(f"settings-{time.monotonic_ns()}", "Settings")
    project = next(p.pb2.id for p in flyte.remote.Project.listall(sort_by=("created_at", "desc")))
    scopes = {"org": {}, "domain": {"domain": "staging"}, "project": {"domain": "staging", "project": project}}
    plane.init(project=project, domain="staging")
    yield lambda name: Settings.get_settings_for_edit(**scopes[name])
    for name in ("org", "domain"):
        Settings.get_settings_for_edit(**scopes[name]).update_settings({})


def test_levels_and_versions(levels):
    fresh = levels("project")
    assert (fresh.local_settings, fresh._version) == ([], 0)
    levels("org").update_settings({"run.default_queue": "slow", "labels": {"team": "a", "cost": "1"}, "security.service_account": "org"})
    levels("domain").update_settings({"labels": {"team": "b"}, "task_resource.min.cpu": "500m"})
    fresh.update_settings({"run.default_queue": "fast", "run.max_action_concurrency": 7})

    read = levels("project")
    assert read.local_overrides() == {"run.default_queue": "fast", "run.max_action_concurrency": 7}
    origins = {s.key: (s.value, str(s.origin)) for s in read.effective_settings}
    assert origins["security.service_account"] == ("org", "ORG")
    assert origins["task_resource.min.cpu"] == ("500m", "DOMAIN(staging)")
    assert origins["run.default_queue"][0] == "fast"
    assert levels("domain").effective_values()["run.default_queue"] == "slow"

    # Two editors: the second is told, and nothing of the first is lost.
    first, second = levels("project"), levels("project")
    assert first._version == second._version == 1
    first.update_settings({"run.default_queue": "first"})
    with pytest.raises(ConnectError, match="version 2, not at 1") as refused:
        second.update_settings({"run.default_queue": "second"})
    assert refused.value.code == Code.ABORTED
    assert (levels("project").local_overrides(), levels("project")._version) == ({"run.default_queue": "first"}, 2)

    # An UNSET value hides the broader one.
    levels("project").update_settings({"security.service_account": flyte.remote._settings.UNSET})
    assert levels("project").local_overrides() == {"security.service_account": flyte.remote._settings.UNSET}


def test_what_cannot_hold_is_refused(levels):
    for overrides, words in (
        ({"run.max_action_concurrency": 1}, "max_action_concurrency"),
        ({"run.run_base_dir": "../x"}, "run_base_dir"),
        ({"storage.raw_data_path": "/tmp/x"}, "raw_data_path"),
        ({"storage.raw_data_path": "s3://biplane/raw/../x"}, "raw_data_path"),
        ({"environment_variables": {"A=B": "c"}}, "environment_variables"),
        ({"task_resource.max.memory": "lots"}, "task_resource.max.memory"),
    ):
        with pytest.raises(ConnectError, match=words) as refused:
            levels("project").update_settings(overrides)
        assert refused.value.code == Code.INVALID_ARGUMENT
    assert levels("project")._version == 0
    with pytest.raises(ConnectError, match='domain "moon" does not exist'):
        Settings.get_settings_for_edit(domain="moon")


def test_a_run_honours_them(levels, tmp_path):
    base, raw = tmp_path / "base", "s3://biplane/raw/by-settings"
    levels("org").update_settings({"environment_variables": {"A": "org", "B": "org", "C": "org", "D": "org"}, "labels": {"level": "org", "team": "sea"}})
    levels("domain").update_settings({"environment_variables": {"B": "domain"}, "annotations": {"note": "kept"}})
    levels("project").update_settings(
        {
            "environment_variables": {"C": "project"}, "labels": {"level": "project"}, "run.default_queue": "default",
            "run.max_action_concurrency": 5, "run.run_base_dir": str(base), "storage.raw_data_path": raw,
        }
    )
    run = flyte.with_runcontext(env_vars={"D": "run"}, labels={"own": "1"}).run(program.look, names=["A", "B", "C", "D"])
    root = record.finish(run)
    assert root.phase == "SUCCEEDED"
    seen = run.outputs()[0]
    assert {k: seen[k] for k in "ABCD"} == {"A": "org", "B": "domain", "C": "project", "D": "run"}
    assert seen["raw"].startswith(f"{raw}/") and run.name in seen["raw"]
    assert seen["outputs"].startswith(f"{base}/") and run.name in seen["outputs"]
    assert list(base.rglob("outputs.pb")), "the outputs lie where the settings say"

    spec = run.details().pb2.run_spec
    assert dict(spec.labels.values) == {"level": "project", "team": "sea", "own": "1"}
    assert dict(spec.annotations.values) == {"note": "kept"}
    assert (spec.queue, spec.max_action_concurrency, spec.run_base_dir) == ("default", 5, str(base))
    assert spec.raw_data_storage.raw_data_prefix == raw

    # What the request says goes before the settings, and a later change changes no run that exists.
    own = "s3://biplane/raw/by-request"
    levels("project").update_settings({"run.max_action_concurrency": 9})
    run2 = flyte.with_runcontext(raw_data_path=own, max_action_concurrency=3).run(program.look, names=["C"])
    assert record.finish(run2).phase == "SUCCEEDED"
    assert run2.outputs()[0]["raw"].startswith(f"{own}/") and run2.outputs()[0]["C"] == "org"
    assert run2.details().pb2.run_spec.max_action_concurrency == 3
    assert flyte.remote.RunDetails.get(name=run.name).pb2.run_spec.max_action_concurrency == 5


def test_the_concurrency_of_a_run(levels):
    levels("project").update_settings({"run.max_action_concurrency": 2})
    run = flyte.run(program.crowd, n=3)
    assert record.finish(run).phase == "SUCCEEDED"
    recorded = record.actions(run.name)
    naps = [a.attempts[0] for a in recorded if a.parent]
    assert len(naps) == 3 and all(a.phase == "SUCCEEDED" for a in recorded)
    # A parent that waits lends its place, so two naps run at a time, never three.
    for nap in naps:
        assert sum(other.start <= nap.start < other.end for other in naps) <= 2


def test_cli(plane, levels, tmp_path):
    project = levels("project").project
    content = tmp_path / "settings.yaml"
    content.write_text("run.default_queue: typed\nlabels:\n  team: terminal\n")
    plane.cli("edit", "settings", "--domain", "staging", "--project", project, "--from-file", str(content))
    assert levels("project").local_overrides() == {"run.default_queue": "typed", "labels": {"team": "terminal"}}
    shown = tmp_path / "shown.yaml"
    plane.cli("get", "settings", "--domain", "staging", "--project", project, "--to-file", str(shown))
    assert "run.default_queue: typed" in shown.read_text()
    plane.cli("edit", "settings", "--domain", "staging", "--project", project, "--from-file", str(shown))
    assert levels("project")._version in (1, 2)
