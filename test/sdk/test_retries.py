"""Row `retries and time`: attempts with pauses, limits of time, checkpoints from attempt to attempt."""

import os
import pathlib

import flyte
import flyte.errors
import pytest

import record
from programs import retrying


def pauses(action: record.Action) -> list[float]:
    return [later.start - earlier.end for earlier, later in zip(action.attempts, action.attempts[1:])]


def test_retries_with_backoff(plane):
    """Every attempt has its own number, times and error; the pauses grow as the task says."""
    run, hopeless = flyte.run(retrying.third_time, message="näh"), flyte.run(retrying.never)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == "attempt 2"
    assert [(a.number, a.phase, a.code, a.message) for a in root.attempts] == [
        (1, "FAILED", "ValueError", "näh 0"), (2, "FAILED", "ValueError", "näh 1"), (3, "SUCCEEDED", "", ""),
    ]  # fmt: skip
    assert root.code == root.message == ""
    assert all(root.start <= a.start <= a.end <= root.end for a in root.attempts)
    assert all(pause >= least for pause, least in zip(pauses(root), (0.4, 1.0))), "0.4 s, then three times as much, capped at one"
    assert "attempt" in plane.cli("get", "action", run.name, "a0").stdout.lower()

    failed = record.finish(hopeless)
    assert (failed.phase, failed.code, failed.message) == ("FAILED", "ValueError", "failure 1")
    assert [a.message for a in failed.attempts] == ["failure 0", "failure 1"]
    with pytest.raises(flyte.errors.RuntimeUserError, match="failure 1"):
        hopeless.raise_for_status()


def test_checkpoints(plane):
    runs = flyte.run(retrying.checkpointed, steps=3), flyte.run(retrying.checkpointed_folder)
    steps, folder = (record.finish(run) for run in runs)
    assert steps.phase == "SUCCEEDED", steps.message
    assert runs[0].outputs()[0] == [0, 1, 2]
    assert [a.code for a in steps.attempts] == ["ExitCode", "ExitCode", ""]
    assert folder.phase == "SUCCEEDED", folder.message
    assert runs[1].outputs()[0] == "from attempt 0", "an attempt that saves nothing hands on what it got"
    assert len(folder.attempts) == 3


def test_limits_of_time(plane, tmp_path):
    run = flyte.run(retrying.catches_timeouts, folder=str(tmp_path))
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == {
        "runtime": ["MaxRuntimeExceededError", "MaxRuntimeExceededError", "the attempt ran longer than its limit of 6s"],
        "deadline": ["DeadlineExceededError", "DeadlineExceededError", "the action did not end within its deadline of 4s, counted over all attempts"],
        "queued": ["MaxQueuedTimeExceededError", "MaxQueuedTimeExceededError", "the attempt was not started within its limit of 1s"],
    }
    actions = {a.task.removeprefix("retrying.").removeprefix("retrying_big."): a for a in record.actions(run.name) if a.parent}
    assert {a.phase for a in actions.values()} == {"TIMED_OUT"}
    assert {n: a.code for n, a in actions.items()} == {
        "too_long": "MAX_RUNTIME_EXCEEDED", "past_deadline": "DEADLINE_EXCEEDED", "no_room": "QUEUED_TIMEOUT_EXCEEDED",
    }  # fmt: skip

    attempts = actions["too_long"].attempts
    assert [(a.phase, a.code) for a in attempts] == [("TIMED_OUT", "MAX_RUNTIME_EXCEEDED")] * 2, "the limit is one attempt's, and may be retried"
    assert all(a.end - a.start >= 6 for a in attempts)
    for number in (0, 1):
        wrote = pathlib.Path(tmp_path, f"too_long{number}")
        if wrote.exists():  # on a busy machine the interpreter may not have got as far in time
            with pytest.raises(ProcessLookupError):
                os.kill(int(wrote.read_text()), 0)

    late = actions["past_deadline"]
    assert late.end - late.start >= 4 and [a.code for a in late.attempts][:-1] == ["ValueError"] * (len(late.attempts) - 1)
    assert late.attempts[-1].phase == "TIMED_OUT"
    waiting = actions["no_room"]
    assert len(waiting.attempts) == 1 and 1 <= waiting.end - waiting.start
    with pytest.raises(flyte.errors.MaxQueuedTimeExceededError):
        alone = flyte.run(retrying.no_room)
        alone.wait(quiet=True)
        alone.raise_for_status()
