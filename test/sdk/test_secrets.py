"""Secrets: written, listed, deleted, used by tasks; never given back."""

import pathlib

import flyte
import flyte.remote
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyte.remote import Secret

import record
from programs import vault


def test_create_list_get_delete(plane):
    marker = "marker-4c1f-do-not-show"
    Secret.create("e2e-crud", marker)
    listed = {s.name: s for s in Secret.listall(limit=2)}
    assert "e2e-crud" in listed
    got = Secret.get("e2e-crud")
    assert (got.name, got.type, got.pb2.id.project, got.pb2.id.domain) == ("e2e-crud", "regular", "flytesnacks", "development")
    assert got.pb2.secret_metadata.created_time.seconds > 0
    for answer in (got.pb2, listed["e2e-crud"].pb2):
        assert marker.encode() not in answer.SerializeToString()
    with pytest.raises(ConnectError, match="exists") as refused:
        Secret.create("e2e-crud", "another")
    assert refused.value.code == Code.ALREADY_EXISTS

    # Not in any file of either plane, nor in their logs.
    for file in plane.state.rglob("*"):
        if file.is_file():
            assert marker.encode() not in file.read_bytes(), f"the value stands in {file}"

    Secret.delete("e2e-crud")
    with pytest.raises(ConnectError) as gone:
        Secret.get("e2e-crud")
    assert gone.value.code == Code.NOT_FOUND
    assert "e2e-crud" not in {s.name for s in Secret.listall()}
    with pytest.raises(ConnectError) as gone:
        Secret.delete("e2e-crud")
    assert gone.value.code == Code.NOT_FOUND
    for name in ("../up", "a/b", "", "a\x00b"):
        with pytest.raises(ConnectError) as refused:
            Secret.create(name, "x")
        assert refused.value.code == Code.INVALID_ARGUMENT, name


def test_pages(plane):
    names = {f"e2e-page-{i}" for i in range(5)}
    for name in sorted(names):
        Secret.create(name, "x")
    listed = [s.name for s in Secret.listall(limit=2)]
    assert names <= set(listed) and len(listed) == len(set(listed))
    for name in names:
        Secret.delete(name)


def test_as_variable_and_file(plane):
    binary = b"-----BEGIN\x00\xff\n"
    plane.cli("create", "secret", "e2e-org", "--value", "of the organisation")  # no project: for all of them
    Secret.create("e2e-named", "größer")
    Secret.create("e2e-file", binary)
    run = flyte.run(vault.look)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    seen = run.outputs()[0]
    assert seen["org"] == vault.digest(b"of the organisation")
    assert seen["named"] == vault.digest("größer".encode())
    assert seen["file"] == vault.digest(binary)
    assert seen["mode"] in ("0o400", "0o600")
    assert not pathlib.Path(seen["path"]).exists(), "the file goes with the attempt"
    for file in plane.state.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"of the organisation" not in content and binary not in content, f"a value stands in {file}"


def test_the_narrowest_scope_wins(plane):
    flyte.remote.Project.create("secretive", "Secretive")
    plane.init(project="secretive", domain="production")

    def used() -> str:
        run = flyte.run(vault.scoped)
        assert record.finish(run).phase == "SUCCEEDED"
        return run.outputs()[0]

    plane.cli("create", "secret", "e2e-scoped", "--value", "org")
    assert used() == vault.digest(b"org")
    plane.cli("create", "secret", "e2e-scoped", "--value", "domain", "--domain", "production")
    plane.cli("create", "secret", "e2e-scoped", "--value", "elsewhere", "--domain", "staging")
    plane.cli("create", "secret", "e2e-scoped", "--value", "other", "--domain", "production", "--project", "flytesnacks")
    assert used() == vault.digest(b"domain")
    plane.cli("create", "secret", "e2e-scoped", "--value", "project", "--domain", "production", "--project", "secretive")
    assert used() == vault.digest(b"project")
    plane.cli("delete", "secret", "e2e-scoped", "--domain", "production", "--project", "secretive")
    assert used() == vault.digest(b"domain")


def test_a_missing_secret(plane):
    root = record.finish(flyte.run(vault.never))
    assert (root.phase, root.code, root.kind, len(root.attempts)) == ("FAILED", "NotStarted", "USER", 1)
    assert "e2e-nobody-made-this" in root.message and "flyte create secret" in root.message
