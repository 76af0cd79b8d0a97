"""Layered images: built by the plane with the stock SDK's remote builder, shared by content, refused with a reason."""

import os
import pathlib
import shutil
import subprocess
import uuid

import flyte
import flyte.errors
import flyte.remote
import pytest
from flyte._internal.imagebuild.image_builder import ImageBuildEngine

import record
from conftest import CACHE
from programs import imaged


def fresh(name: str) -> flyte.Image:
    """An image that nobody has built before."""
    return flyte.Image.from_debian_base(name=name).with_env_vars({"FRESH": uuid.uuid4().hex})


def look_in(image: flyte.Image, name: str) -> dict[str, str]:
    """What a task with this image sees."""
    env = flyte.TaskEnvironment(name=name, image=image)
    run = flyte.run(env.task(imaged.look.func))
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    return run.outputs()[0]


def test_layers(plane):
    run = flyte.run(imaged.compare)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    plain, first, again, twin = run.outputs()[0]
    assert (plain["six"], plain["greeting"], plain["source"], plain["data"]) == ("", "", "", "")
    assert plain["flyte"] == first["flyte"] == flyte.__version__
    assert (first["six"], first["idna"], first["greeting"]) == ("1.17.0", "3.10", "guten Tag")
    assert first["source"] == first["data"] == "apple 3\n"
    assert again == first, "an attempt changed the files of the image"
    assert twin == first and twin["prefix"] == first["prefix"] != plain["prefix"], "the same content is one environment"
    recorded = record.actions(run.name)
    assert sorted(a.task for a in recorded) == ["imaged-plain.compare", "imaged-twin.look_too", "imaged.look", "imaged.look"]
    assert all(a.phase == "SUCCEEDED" and len(a.attempts) == 1 for a in recorded)


def test_a_build_is_a_run(plane):
    image = fresh("e2e-recorded").with_pip_packages("six==1.17.0")
    built = flyte.build(image)
    assert built.uri and built.remote_run is not None
    root = record.action(built.remote_run.name)
    assert (root.task, root.phase, len(root.attempts)) == ("build-image", "SUCCEEDED", 1)
    log = "\n".join(built.remote_run.get_logs())
    assert "six==1.17.0" in log and "Ready: " in log, log
    # The same image again needs no build, also for a client that has not built it.
    ImageBuildEngine.build.cache_clear()
    ImageBuildEngine.image_exists.cache_clear()
    again = flyte.build(image)
    assert again.uri == built.uri and again.remote_run is None


def test_uv_project(plane, tmp_path, monkeypatch):
    shutil.copy(imaged.files / "pyproject.toml", tmp_path)
    (uv,) = CACHE.glob("tools/uv-*/bin/uv")
    subprocess.run([str(uv), "lock", "--quiet"], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("PATH", f"{uv.parent}:{os.environ['PATH']}")  # the SDK asks it what the project is made of
    image = flyte.Image.from_debian_base(name="e2e-project").with_uv_project(tmp_path / "pyproject.toml")
    assert look_in(image, "imaged-project")["iniconfig"] == "2.1.0"


def test_an_environment_that_is_lost_is_built_again(plane):
    image = fresh("e2e-lost").with_pip_packages("six==1.17.0")
    first = look_in(image, "imaged-lost")
    root = pathlib.Path(first["prefix"]).parent
    assert root.parent == CACHE / "envs"
    shutil.rmtree(root)
    again = look_in(image, "imaged-lost")
    assert again == first


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (flyte.Image.from_debian_base(name="e2e-apt").with_apt_packages("curl"), "apt"),
        (flyte.Image.from_debian_base(name="e2e-commands").with_commands(["make world"]), "command"),
        (flyte.Image.from_base("debian:13").clone(name="e2e-foreign", extendable=True).with_pip_packages("six"), "debian:13"),
    ],
)
def test_what_needs_a_container_is_refused(plane, image, words):
    before = {r.name for r in flyte.remote.Run.listall()}
    with pytest.raises(Exception, match=f"(?s){words}.*Kubernetes"):
        flyte.build(image)
    assert {r.name for r in flyte.remote.Run.listall()} == before, "a run was made for it"


def test_dockerfiles_and_foreign_images_are_refused(plane, tmp_path):
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM debian:13\n")
    with pytest.raises(flyte.errors.ImageBuildError, match="Dockerfile is not supported"):
        flyte.build(flyte.Image.from_dockerfile(dockerfile, registry="localhost", name="e2e-docker"))
    env = flyte.TaskEnvironment(name="imaged-foreign", image="docker.io/library/python:3.12")
    root = record.finish(flyte.run(env.task(imaged.look.func)))
    assert (root.phase, root.code, root.kind, len(root.attempts)) == ("FAILED", "NotStarted", "USER", 1)
    assert "python:3.12" in root.message and "Kubernetes" in root.message


def test_a_package_that_cannot_be_installed(plane):
    image = fresh("e2e-impossible").with_pip_packages("six==0.0.0.1")
    with pytest.raises(flyte.errors.ImageBuildError, match="Build failed"):
        flyte.build(image)
    failed = next(r for r in flyte.remote.Run.listall(sort_by=("created_at", "desc")) if r.pb2.action.metadata.task.id.name == "build-image")
    root = record.action(failed.name)
    assert (root.phase, root.kind) == ("FAILED", "USER") and "six==0.0.0.1" in root.message
