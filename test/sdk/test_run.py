"""Row `run`: how a run is started, and what its tasks get from it."""

import pathlib

import flyte
import flyte.errors
import flyte.remote
import pytest

import record
from programs import basics


def test_nested_to_any_depth(own_plane):
    """Async calls sync calls async, five levels deep, on one core: an action that waits for its children lends them its slot."""
    own_plane("--plane=--cpu=1")
    run = flyte.run(basics.nested_async, depth=4)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == "async > sync > async > sync > leaf at 0"
    actions = record.actions(run.name)
    assert len(actions) == 6
    by_name = {a.name: a for a in actions}
    chain = [next(a for a in actions if a.task == "basics.leaf")]
    while chain[-1].parent:
        chain.append(by_name[chain[-1].parent])
    assert [a.task.removeprefix("basics.") for a in chain] == ["leaf", "nested_async", "nested_sync", "nested_async", "nested_sync", "nested_async"]
    for child, parent in zip(chain, chain[1:]):
        assert parent.attempts[0].start <= child.start <= child.attempts[0].start <= child.end <= parent.end


def test_default_inputs_and_no_outputs(plane):
    run = flyte.run(basics.greet)
    other = flyte.run(basics.nothing)
    assert record.finish(run).phase == "SUCCEEDED"
    assert run.outputs()[0] == "hello world hello world a,ü"
    assert dict(run.inputs()) == {"name": "world", "times": 2, "loud": False, "tags": ["a", "ü"]}
    assert record.finish(other).phase == "SUCCEEDED"
    assert tuple(other.outputs()) == (None,)


def test_flyte_run(plane):
    """The command of the stock CLI, as a user types it, with unicode and flags for every kind of input."""
    here = str(pathlib.Path(__file__).parent)
    result = plane.cli(
        "run", "--follow", "--name", "from-the-cli", "--label", "team=ml", "--env", "FROM_RUN=cli",
        "programs/basics.py", "greet", "--name", "Zoë 🚀", "--times", "1", "--loud", "--tags", '["x"]', cwd=here,
    )  # fmt: skip
    assert "from-the-cli" in result.stdout
    run = flyte.remote.Run.get(name="from-the-cli")
    assert record.finish(run).phase == "SUCCEEDED"
    assert run.outputs()[0] == "HELLO ZOË 🚀 X"
    shown = plane.cli("get", "run", "from-the-cli").stdout
    assert "from-the-cli" in shown and "succeeded" in shown.lower()
    assert "HELLO ZOË 🚀 X" in plane.cli("get", "io", "from-the-cli", "--outputs-only").stdout
    assert [r.name for r in flyte.remote.Run.listall(with_labels={"team": "ml"})] == ["from-the-cli"]


def test_names_that_collide(plane):
    named = flyte.with_runcontext(name="collides")
    first = named.run(basics.greet, name="one")
    assert first.name == "collides"
    again = flyte.with_runcontext(name="collides").run(basics.greet, name="one")
    assert again.name == "collides", "the same request again is the same run"
    with pytest.raises(flyte.errors.RuntimeUserError) as caught:
        flyte.with_runcontext(name="collides").run(basics.greet, name="two")
    assert caught.value.code == "RunAlreadyExistsError"
    assert record.finish(first).phase == "SUCCEEDED"
    with pytest.raises(flyte.errors.RuntimeUserError):  # also when it has ended
        flyte.with_runcontext(name="collides").run(basics.greet, name="two")
    assert flyte.with_runcontext(name="collides").run(basics.greet, name="one").outputs()[0].startswith("hello one")
    assert len(record.actions("collides")) == 1

    elsewhere = flyte.with_runcontext(name="collides", domain="staging").run(basics.greet, name="two")
    elsewhere.abort()
    unnamed = [flyte.run(basics.greet, name="one") for _ in range(2)]
    assert unnamed[0].name != unnamed[1].name
    for run in unnamed:
        run.abort()


@pytest.mark.parametrize("name", ["", "UPPER", "a b", "../up", "x" * 200, "ünicode"])
def test_names_that_are_none(plane, name):
    with pytest.raises((flyte.errors.RuntimeUserError, flyte.errors.RuntimeSystemError)) as caught:
        if not name:
            flyte.with_runcontext(name="ok", project="no-such-project").run(basics.nothing)
        flyte.with_runcontext(name=name).run(basics.nothing)
    assert ("project" if not name else "name") in str(caught.value)


def test_what_a_run_gives_to_its_actions(plane, tmp_path, monkeypatch):
    """Environment variables, labels, annotations, custom context, and places for data, for the root and for its children."""
    monkeypatch.setenv("BIPLANE_TEST_FOREIGN", "of the client's shell, not for tasks")
    base, raw = tmp_path / "base", "s3://biplane/raw/chosen"
    run = flyte.with_runcontext(
        env_vars={"FROM_RUN": "väl=ue with = and spaces", "OVERRIDDEN": "run"},
        labels={"team": "search"}, annotations={"note": "for people"}, custom_context={"tenant": "acme"},
        run_base_dir=str(base), raw_data_path=raw,
    ).run(basics.surroundings)  # fmt: skip
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    mine, child, file = run.outputs()
    child_action = next(a for a in record.actions(run.name) if a.parent)
    for got, action in ((mine, "a0"), (child, child_action.name)):
        assert got["FROM_RUN"] == "väl=ue with = and spaces"
        assert got["FROM_ENVIRONMENT"] == "task" and got["OVERRIDDEN"] == "run"
        assert got["foreign"] == ""
        assert got["run"] == run.name and got["action"] == action
        assert (got["project"], got["domain"], got["attempt"]) == ("flytesnacks", "development", "0")
        assert got["base"].startswith(str(base) + "/") and got["raw"].startswith(raw + "/")
    assert mine["context"] == str([("tenant", "acme")])
    assert child["context"] == str([("more", "from the parent"), ("tenant", "acme")])
    assert "/raw/chosen/" in file.path
    with file.open_sync("rb") as copy:
        assert copy.read() == b"where raw data goes"
    assert list(base.rglob("a0/1/outputs.pb")) and list(base.rglob(f"{child_action.name}/1/outputs.pb"))

    spec = run.details().pb2.run_spec
    assert dict(spec.labels.values) == {"team": "search"} and dict(spec.annotations.values) == {"note": "for people"}


@pytest.mark.parametrize("path", ["/tmp/raw", "file:///tmp/raw", "relative", "s3://", "s3://biplane", "s3://biplane/uploads", "s3://biplane/raw/../runs"])
def test_places_for_raw_data_that_are_none(plane, path):
    """A folder would not do: there the SDK does not copy a file that a task returns, but hands on its path."""
    with pytest.raises(flyte.errors.RuntimeUserError, match="raw_data_prefix"):
        flyte.with_runcontext(raw_data_path=path).run(basics.nothing)
