"""The cache: what counts for it, who may use it, and what is a miss."""

import shutil
import uuid

import flyte
import flyte.remote
from flyteidl2.core import catalog_pb2

import record
from conftest import until
from programs import caching


def run(task, context=None, **inputs):
    """Run a task and return its result and the record of its root."""
    started = (context or flyte).run(task, **inputs)
    root = record.finish(started)
    assert root.phase == "SUCCEEDED", root
    return started.outputs()[0], root, started.name


def source(run_name: str, action: str = "a0"):
    """The run and action whose outputs a cache hit uses."""
    attempts = flyte.remote.ActionDetails.get(run_name=run_name, name=action).pb2.attempts
    found = attempts[-1].cache_metadata.source_action_attempt
    return found.action_id.run.name, found.action_id.name, found.attempt


def test_content_and_versions(plane):
    x = str(uuid.uuid4())
    first, root, made_by = run(caching.mint, x=x)
    assert root.cache == "CACHE_POPULATED"
    again, hit, hit_run = run(caching.mint, x=x)
    assert again == first and hit.cache == "CACHE_HIT"
    assert source(hit_run) == (made_by, "a0", 1)
    assert hit.start <= hit.end and len(hit.attempts) == 1

    other, root, _ = run(caching.mint, x=x + "!")
    assert root.cache == "CACHE_POPULATED" and other != first

    # Another version is another entry; the old one stays what it was.
    newer = caching.mint.override(cache=flyte.Cache(behavior="override", version_override="2"))
    second, root, _ = run(newer, x=x)
    assert root.cache == "CACHE_POPULATED" and second != first
    assert run(newer, x=x)[0] == second
    assert run(caching.mint, x=x)[0] == first

    # Overwriting executes, and what it made is what others get from then on.
    third, root, _ = run(caching.mint, flyte.with_runcontext(overwrite_cache=True), x=x)
    assert third != first and root.cache == "CACHE_POPULATED"
    assert run(caching.mint, x=x)[0] == third


def test_children_share_with_roots(plane):
    x = str(uuid.uuid4())
    values, _, name = run(caching.twice, x=x)
    assert values[0] == values[1] != values[2]
    children = record.actions(name)[1:]
    assert [(c.phase, c.cache) for c in children] == [
        ("SUCCEEDED", "CACHE_POPULATED"), ("SUCCEEDED", "CACHE_HIT"), ("SUCCEEDED", "CACHE_DISABLED"),
    ]
    assert source(name, children[1].name) == (name, children[0].name, 1)
    value, root, _ = run(caching.mint, x=x)
    assert value == values[0] and root.cache == "CACHE_HIT"


def test_ignored_inputs(plane):
    x = str(uuid.uuid4())
    first, root, _ = run(caching.mint_ignoring, x=x, note="one")
    assert root.cache == "CACHE_POPULATED"
    second, root, _ = run(caching.mint_ignoring, x=x, note="two")
    assert root.cache == "CACHE_HIT" and second == first
    third, root, _ = run(caching.mint_ignoring, x=x + "!", note="two")
    assert root.cache == "CACHE_POPULATED" and third != first


def test_serialized(plane):
    x = str(uuid.uuid4())
    values, _, name = run(caching.together, x=x, n=6)
    assert len(set(values)) == 1
    children = record.actions(name)[1:]
    assert sorted(c.cache for c in children) == ["CACHE_HIT"] * 5 + ["CACHE_POPULATED"]
    maker = next(c for c in children if c.cache == "CACHE_POPULATED")
    assert all(c.end >= maker.end for c in children), "one that waits ends after the one that executes"


def test_a_failure_is_not_kept(plane, tmp_path):
    """The one that executes fails: one of those that waited executes, the others take what that one made."""
    values, _, name = run(caching.fail_together, x=str(uuid.uuid4()), mark=str(tmp_path / "mark"), n=3)
    assert values.count("failed") == 1 and len(set(values)) == 2
    children = record.actions(name)[1:]
    assert sorted((c.phase, c.cache) for c in children) == [
        ("FAILED", "CACHE_MISS"), ("SUCCEEDED", "CACHE_HIT"), ("SUCCEEDED", "CACHE_POPULATED"),
    ]


def test_a_missing_blob_is_a_miss(plane):
    x = str(uuid.uuid4())
    first, _, name = run(caching.mint, x=x)
    uri = flyte.remote.ActionDetails.get(run_name=name, name="a0").pb2.attempts[-1].outputs.output_uri
    folder = uri.rsplit("/", 1)[0]
    assert str(plane.state) in folder
    shutil.rmtree(folder)
    second, root, _ = run(caching.mint, x=x)
    assert root.cache == "CACHE_POPULATED" and second != first
    assert run(caching.mint, x=x)[0] == second


def test_old_entries_are_misses(plane):
    x = str(uuid.uuid4())
    brief = caching.mint.override(cache=flyte.Cache(behavior="override", version_override="brief", max_age=1))
    first, _, _ = run(brief, x=x)

    def expired():
        value, root, _ = run(brief, x=x)
        assert (value == first) == (root.cache == "CACHE_HIT")
        return root.cache == "CACHE_POPULATED"

    until(expired, 30, message="an entry older than its greatest age was still used")
    lasting = caching.mint.override(cache=flyte.Cache(behavior="override", version_override="brief", max_age=3600))
    assert run(lasting, x=x)[1].cache == "CACHE_HIT"


def test_scope(plane):
    """Every project is looked at by default; a run may keep to its own project and domain."""
    x = str(uuid.uuid4())
    first, _, _ = run(caching.mint, x=x)

    def elsewhere(scope):
        started = flyte.with_runcontext(domain="staging", cache_lookup_scope=scope).run(caching.mint, x=x)
        started.wait(quiet=True)
        return started.outputs()[0], catalog_pb2.CatalogCacheStatus.Name(started.pb2.action.status.cache_status)

    staging, cache = elsewhere("project-domain")
    assert cache == "CACHE_POPULATED" and staging != first
    # Its own entry for a run that keeps to its project; the newest of all for one that does not.
    assert elsewhere("project-domain") == (staging, "CACHE_HIT")
    assert run(caching.mint, flyte.with_runcontext(cache_lookup_scope="project-domain"), x=x)[0] == first
    assert run(caching.mint, x=x)[0] == staging
