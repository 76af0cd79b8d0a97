"""The control plane can read nothing: a program puts markers into everything, and `biplane doctor boundary` looks for them."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import conftest
from conftest import BIPLANE, ROOT, start_demo, stop_demo


def look(state: pathlib.Path) -> tuple[int, dict]:
    """The exit code and the report."""
    command = [str(BIPLANE), "doctor", "boundary", "--state", str(state), "--python", sys.executable, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, "PYTEST_CURRENT_TEST": ""})
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


def test_nothing_readable(own_plane):
    plane = own_plane()
    code, report = look(plane.state)
    assert report["problems"] == [], "\n".join(report["problems"])
    assert code == 0
    looked = {target["kind"]: target for target in report["looked"]}
    assert sorted(looked) == ["database", "files", "log", "memory", "metrics"]
    for kind, target in looked.items():
        assert target["names"] > 0, f"the search did not see the name that stands in the {kind}"
        assert target["bytes"] > 0 and target["leaked"] == 0


def test_a_planted_leak_is_caught(tmp_path, monkeypatch):
    """The same control plane, but for a leak of one kind of content into its log, a file and its memory."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("biplane", "biplane-data", "biplane-runner"):
        shutil.copy(BIPLANE.with_name(name), programs / name)
    subprocess.run(["go", "build", "-trimpath", "-o", str(programs / "biplane-control"), "./test/leaky"], cwd=ROOT, check=True, env={**os.environ, "CGO_ENABLED": "0"})
    monkeypatch.setattr(conftest, "BIPLANE", programs / "biplane")
    plane = start_demo(tmp_path / "state")
    try:
        code, report = look(plane.state)
    finally:
        stop_demo(plane)
    assert code == 1
    looked = {target["kind"]: target for target in report["looked"]}
    for kind, form in (("log", "hex"), ("files", "base64"), ("memory", "gzip > plain")):
        found = {(hit["form"], hit["place"]) for hit in looked[kind]["leaks"]}
        assert {(form, "dead"), (form, "exce")} & found, f"the leak into the {kind} was not caught as {form}: {found}"
        assert any(f"content is in the control plane's {kind}" in problem for problem in report["problems"])
    assert looked["database"]["leaked"] == looked["metrics"]["leaked"] == 0, "the leak is where it was not planted"
