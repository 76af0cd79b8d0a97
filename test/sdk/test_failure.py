"""Row `failure`: what a parent can catch, what a client sees, and what is recorded, for every way to fail."""

import os

import flyte
import flyte.errors
import pytest

import record
from conftest import until
from programs import failing


def test_every_way_to_fail(plane):
    run = flyte.run(failing.catch_all)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    caught = run.outputs()[0]
    assert caught == {
        "exception": ["RuntimeUserError", "ValueError", "user", "grüße: the value\nis wrong"],
        "own exception": ["RuntimeUserError", "OutOfPaint", "user", "no more blue"],
        "flyte exception": ["RuntimeUserError", "MyCode", "user", "by hand"],
        "long message": ["RuntimeUserError", "ValueError", "user", "x" * 200],
        "sys.exit": ["RuntimeUserError", "ExitCode", "user", "the task's process exited with code 3 before it reported a result; see its log"],
        "sys.exit(0)": ["RuntimeUserError", "MissingOutputs", "user", "the task's process exited with code 0 without writing its outputs; see its log"],
        "os._exit": ["RuntimeUserError", "ExitCode", "user", "the task's process exited with code 4 before it reported a result; see its log"],
        "kill": ["TaskInterruptedError", "Interrupted", "user", "the task's process was ended by SIGKILL before it reported a result"],
        "segfault": ["TaskInterruptedError", "Interrupted", "user", "the task's process was ended by SIGSEGV before it reported a result"],
        "memory": ["OOMError", "OOMKilled", "user", caught["memory"][3]],
        "bad output": ["RuntimeUserError", "DataValidationError", "user", caught["bad output"][3]],
        "final": ["RuntimeUserError", "BadData", "user", "no attempt will mend this"],
        "more memory": ["200"],
    }
    assert "ask for more with flyte.Resources(memory=...)" in caught["memory"][3]

    actions = record.actions(run.name)
    assert len(actions) == 1 + len(failing.HOW) + 3
    failed = [a for a in actions if a.phase == "FAILED"]
    assert len(failed) == len(failing.HOW) + 2 and {a.parent for a in failed} == {"a0"}
    for action in failed:
        assert len(action.attempts) == 1, f"{action.task} has no retries, or its error is not recoverable"
        attempt = action.attempts[0]
        assert (attempt.phase, attempt.code, attempt.message) == ("FAILED", action.code, action.message)
        assert 0 < attempt.start <= attempt.end <= root.end
        assert action.kind == "USER"
    codes = sorted(a.code for a in failed)
    assert codes == sorted([*(c[1] for how, c in caught.items() if how != "more memory"), "OOMKilled"])
    long = next(a for a in failed if len(a.message) > 1000)
    assert 60_000 < len(long.message) < 70_000 and long.message.endswith("(cut)")


def test_what_the_client_sees(plane):
    """A failure that nobody catches: the exception with its type and words, the root and the CLI show it, siblings are stopped."""
    run = flyte.run(failing.fails_beside_others)
    root = record.finish(run)
    assert (root.phase, root.code, root.kind) == ("FAILED", "ValueError", "USER")
    assert root.message == "grüße: the value\nis wrong"
    with pytest.raises(flyte.errors.RuntimeUserError, match="grüße: the value") as caught:
        run.raise_for_status()
    assert caught.value.code == "ValueError"
    failure = run.first_failure()
    assert failure.task_name == "failing.fail" and failure.error_message == root.message

    def stopped():
        sleeper = next(a for a in record.actions(run.name) if a.task == "failing_naps.sleep")
        return sleeper if sleeper.phase == "ABORTED" else None

    sleeper = until(stopped, 30, message="a child outlived its parent")
    assert sleeper.message in ("cancelled by its parent", "its parent a0 has ended")
    assert "grüße: the value" in plane.cli("get", "action", run.name, "a0").stdout
    with pytest.raises(flyte.errors.RuntimeUserError, match="ended by SIGKILL"):
        killed = flyte.run(failing.fail, how="kill")
        killed.wait(quiet=True)
        killed.raise_for_status()

    def reported():
        known = plane.ledger(run.name)
        return known if known["run"]["phase"] == "PHASE_FAILED" else None

    known = until(reported, 30, message="the control plane did not hear of the end")
    assert known["run"]["errorCode"] == "ValueError" and "grüße" not in str(known), "codes cross the link, messages do not"


def test_a_task_that_leaves_children_behind(plane):
    run = flyte.run(failing.leaves_children)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    for pid in run.outputs()[0]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_system_errors_are_tried_again_at_the_planes_expense(plane):
    run = flyte.run(failing.system_error)
    root = record.finish(run)
    assert (root.phase, root.code, root.kind, root.message) == ("FAILED", "Storage", "SYSTEM", "the store was away")
    assert [a.phase for a in root.attempts] == ["FAILED"] * 4
    pauses = [later.start - earlier.end for earlier, later in zip(root.attempts, root.attempts[1:])]
    assert all(pause >= least for pause, least in zip(pauses, (1, 4, 16)))
    with pytest.raises(flyte.errors.RuntimeSystemError, match="the store was away"):
        run.raise_for_status()
