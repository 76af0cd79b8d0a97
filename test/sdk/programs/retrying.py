"""Tasks that need several attempts, or that take too long."""

import asyncio
import os
import pathlib
import time
from datetime import timedelta

import flyte
import flyte.errors

env = flyte.TaskEnvironment(name="retrying")


def attempt() -> int:
    return int(os.environ["FLYTE_ATTEMPT_NUMBER"])


BACKOFF = flyte.RetryStrategy(count=3, backoff=flyte.Backoff(base=timedelta(milliseconds=400), factor=3, cap=timedelta(seconds=1)))


@env.task(retries=BACKOFF)
async def third_time(message: str) -> str:
    if attempt() < 2:
        raise ValueError(f"{message} {attempt()}")
    return f"attempt {attempt()}"


@env.task(retries=1)
async def never() -> str:
    raise ValueError(f"failure {attempt()}")


@env.task(retries=3)
async def checkpointed(steps: int) -> list[int]:
    """Makes one step per attempt, and hands on what it has done."""
    checkpoint = flyte.ctx().checkpoint
    done: list[int] = []
    before = await checkpoint.load()
    if before is not None:
        done = [int(n) for n in before.read_text().split()]
    done.append(attempt())
    await checkpoint.save(" ".join(map(str, done)).encode())
    if len(done) < steps:
        os._exit(1)
    return done


@env.task(retries=2)
def checkpointed_folder() -> str:
    """The same from sync code, with a folder; the second attempt dies before it saves anything."""
    checkpoint = flyte.ctx().checkpoint
    before = checkpoint.load_sync()
    if attempt() == 0:
        folder = pathlib.Path("state")
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "ä.txt").write_text("from attempt 0")
        checkpoint.save_sync(folder)
    if attempt() < 2:
        os._exit(1)
    return (before / "deep" / "ä.txt").read_text()


@env.task(timeout=flyte.Timeout(max_runtime=timedelta(seconds=6)), retries=1)
async def too_long(folder: str) -> int:
    pathlib.Path(folder, f"too_long{attempt()}").write_text(str(os.getpid()))
    time.sleep(600)  # does not hear SIGTERM within Python code that waits
    return 0


@env.task(timeout=flyte.Timeout(deadline=timedelta(seconds=4)), retries=50)
async def past_deadline() -> int:
    await asyncio.sleep(0.1)
    raise ValueError("again")


big = flyte.TaskEnvironment(name="retrying_big", resources=flyte.Resources(gpu=1))


@big.task(timeout=flyte.Timeout(max_queued_time=timedelta(seconds=1)), retries=3)
async def no_room() -> int:
    return 0


@env.task
async def catches_timeouts(folder: str) -> dict[str, list[str]]:
    caught = {}
    calls = {"runtime": too_long(folder), "deadline": past_deadline(), "queued": no_room()}
    for name, result in zip(calls, await asyncio.gather(*calls.values(), return_exceptions=True)):
        caught[name] = [type(result).__name__, getattr(result, "code", ""), str(result).split(": ", 1)[-1]]
    return caught
