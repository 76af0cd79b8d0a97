"""Row `again`: a run is run again as it was, with other inputs, from where it failed, or one action of it."""

import collections
import pathlib
import re
import shutil

import flyte
import flyte.errors
import flyte.remote
import pytest
from flyteidl2.common import run_pb2

import record
from conftest import until
from programs import again


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o777)
    return tmp_path


def ran(folder: pathlib.Path) -> dict[str, int]:
    return dict(collections.Counter(p.name.split(".")[0] for p in folder.iterdir() if "." in p.name))


def clear(folder: pathlib.Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def rerun(plane, *args: str) -> flyte.remote.Run:
    """`flyte rerun`, as a user types it."""
    shown = plane.cli("rerun", *args).stdout
    return flyte.remote.Run.get(name=re.search(r"Created Run: ([\w-]+)", shown).group(1))


def relation(run) -> tuple[str, str]:
    found = flyte.remote.RunDetails.get(name=run.name).pb2.action.metadata.relation
    return run_pb2.RelationType.Name(found.relation_type).removeprefix("RELATION_TYPE_"), found.related_to.name


def phases(run_name: str) -> list[tuple[str, str]]:
    return sorted((a.task, a.phase) for a in record.actions(run_name))


def test_rerun(plane, folder):
    """Again with the same code and inputs, with others, and one action of it; by the CLI alone."""
    (folder / "mended").touch()
    context = flyte.with_runcontext(env_vars={"KEPT": "yes"}, labels={"who": "me"})
    run = context.run(again.main, folder=str(folder), n=1)
    assert record.finish(run).phase == "SUCCEEDED"
    first = run.outputs()[0]
    once = {"main1": 1, "step1": 1, "step2": 1, "trace2": 1, "fragile2": 1}
    assert ran(folder) == once

    same = rerun(plane, run.name, "--name", "the-same-again", "--env", "MORE=1", "--label", "why=test")
    assert same.name == "the-same-again" and relation(same) == ("RERUN", run.name)
    assert record.finish(same).phase == "SUCCEEDED"
    assert same.outputs()[0] == [line.replace(run.name, same.name) for line in first]
    assert ran(folder) == {k: 2 for k in once}
    spec = flyte.remote.RunDetails.get(name=same.name).pb2.run_spec
    envs = {e.key: e.value for e in spec.envs.values}
    assert envs["KEPT"] == "yes" and envs["MORE"] == "1"
    assert dict(spec.labels.values) == {"who": "me", "why": "test"}

    # One child alone, with the inputs that it had: the whole of a new run.
    branch = next(a for a in record.actions(run.name) if a.task == "again.branch")
    one = rerun(plane, run.name, "--action-name", branch.name)
    assert record.finish(one).task == "again.branch" and relation(one) == ("RERUN", run.name)
    assert one.outputs()[0] == [line.replace(run.name, one.name) for line in first[1:]]
    assert ran(folder) == {"main1": 2, "step1": 2, "step2": 3, "trace2": 3, "fragile2": 3}
    assert len(record.actions(one.name)) == 4

    # Some inputs changed, the others kept.
    assert "--n" in plane.cli("rerun", run.name, "--help").stdout
    other = rerun(plane, same.name, "--n", "5", "--note", "x")
    assert record.finish(other).phase == "SUCCEEDED" and relation(other) == ("RERUN", same.name)
    assert dict(other.inputs()) == {"folder": str(folder), "n": 5, "note": "x"}
    assert ran(folder)["main5x"] == 1


def test_recover(plane, folder):
    run = flyte.run(again.main, folder=str(folder), n=1)
    assert record.finish(run).phase == "FAILED"
    assert phases(run.name) == [
        ("again.branch", "FAILED"), ("again.fragile", "FAILED"), ("again.main", "FAILED"), ("again.step", "SUCCEEDED"), ("again.step", "SUCCEEDED"),
        ("traced", "SUCCEEDED"),
    ]
    clear(folder)
    (folder / "mended").touch()
    recovered = rerun(plane, run.name, "--recover")
    assert relation(recovered) == ("RECOVER", run.name)
    assert record.finish(recovered).phase == "SUCCEEDED"
    # What had succeeded is taken over, by name; the rest is run.
    assert ran(folder) == {"main1": 1, "fragile2": 1}
    assert phases(recovered.name) == [
        ("again.branch", "SUCCEEDED"), ("again.fragile", "SUCCEEDED"), ("again.main", "SUCCEEDED"), ("again.step", "RECOVERED"),
        ("again.step", "RECOVERED"), ("traced", "RECOVERED"),
    ]
    assert recovered.outputs()[0] == [
        f"1 by {run.name}", f"traced 2 in {run.name}", f"2 by {run.name}", f"mended 2 by {recovered.name}",
    ]
    for a in record.actions(recovered.name):
        source = flyte.remote.ActionDetails.get(run_name=recovered.name, name=a.name).pb2.metadata.recovered_from
        assert (source.run.name, source.name) == ((run.name, a.name) if a.phase == "RECOVERED" else ("", ""))
    taken = next(a.name for a in record.actions(recovered.name) if a.task == "again.step")
    assert f"by {run.name}" in plane.cli("get", "io", recovered.name, taken).stdout

    # Recovered from the recovered: what that one took over counts as done, and is still the first one's.
    clear(folder)
    (folder / "mended").touch()
    forced = next(a.name for a in record.actions(recovered.name) if a.task == "again.branch")
    again_recovered = rerun(plane, recovered.name, "--recover", "--force-rerun-action", forced, "--force-rerun-action", "unknown")
    assert record.finish(again_recovered).phase == "SUCCEEDED"
    assert ran(folder) == {"main1": 1}
    assert phases(again_recovered.name) == [
        ("again.branch", "SUCCEEDED"), ("again.fragile", "RECOVERED"), ("again.main", "SUCCEEDED"), ("again.step", "RECOVERED"),
        ("again.step", "RECOVERED"), ("traced", "RECOVERED"),
    ]
    assert again_recovered.outputs()[0] == recovered.outputs()[0]


def test_recover_a_condition(plane, folder):
    """Whoever answered once is not asked again, unless it is forced."""
    run = flyte.run(again.approved, folder=str(folder))

    def asked(name):
        waiting = [c for c in flyte.remote.Condition.listall(run_name=name) if c.phase == "ACTION_PHASE_PAUSED"]
        return waiting[0] if waiting else None

    condition = until(lambda: asked(run.name), 60)
    condition.signal("granted")
    assert record.finish(run).phase == "FAILED"
    (folder / "mended").touch()
    recovered = rerun(plane, run.name, "--recover")
    assert record.finish(recovered).phase == "SUCCEEDED"
    assert recovered.outputs()[0] == f"granted mended 0 by {recovered.name}"
    assert phases(recovered.name) == [("again.approved", "SUCCEEDED"), ("again.fragile", "SUCCEEDED"), ("approve", "RECOVERED")]
    forced = rerun(plane, recovered.name, "--recover", "--force-rerun-action", condition.action_name)
    until(lambda: asked(forced.name), 60).signal("granted anew")
    assert record.finish(forced).phase == "SUCCEEDED"
    assert forced.outputs()[0] == f"granted anew mended 0 by {recovered.name}"


def test_sources_that_are_gone(plane, folder):
    """The outputs or the inputs of the source were deleted: the client says which, and goes on where it can."""
    run = flyte.run(again.step, folder=str(folder), x=3)
    assert record.finish(run).phase == "SUCCEEDED"
    details = flyte.remote.ActionDetails.get(run_name=run.name, name="a0").pb2
    outputs = pathlib.Path(details.attempts[-1].outputs.output_uri)
    assert plane.state in outputs.parents
    shutil.rmtree(outputs.parent)
    refused = plane.cli("rerun", run.name, check=False)
    assert "Created Run" not in refused.stdout and "outputs" in refused.stdout + refused.stderr
    renewed = rerun(plane, run.name, "--allow-missing-outputs")
    assert record.finish(renewed).phase == "SUCCEEDED"
    assert renewed.outputs()[0] == f"3 by {renewed.name}"
    # An action that was never there.
    missing = plane.cli("rerun", run.name, "--action-name", "nothere", check=False)
    assert "Created Run" not in missing.stdout and "nothere" in missing.stdout + missing.stderr
    unknown = plane.cli("rerun", "no-such-run", check=False)
    assert "Created Run" not in unknown.stdout and "no-such-run" in unknown.stdout + unknown.stderr
