"""A parent that can be killed at any point, and side files that tell how often everything was really executed."""

import asyncio
import os
import pathlib

import flyte
import flyte.errors

env = flyte.TaskEnvironment(name="durable")


def note(folder: str, name: str, text: str) -> None:
    """One line of a side file, whole even when two processes write at once."""
    with open(pathlib.Path(folder, name), "a") as file:
        file.write(text + "\n")


async def until_there(path: pathlib.Path) -> None:
    while not path.exists():
        await asyncio.sleep(0.05)


@env.task
async def step(folder: str, n: int) -> int:
    """Ends when the test lets it."""
    note(folder, f"step{n}", f"start {os.getpid()}")
    await until_there(pathlib.Path(folder, f"go{n}"))
    note(folder, f"step{n}", f"end {os.getpid()}")
    return n * n


@flyte.trace
async def looked_up(folder: str, n: int) -> str:
    note(folder, f"trace{n}", "called")
    return f"ü{n}"


@flyte.trace
async def fails_once(folder: str) -> str:
    note(folder, "fails_once", "called")
    if os.environ["FLYTE_ATTEMPT_NUMBER"] == "0":
        raise ValueError("the service was away")
    return "mended"


@flyte.trace
async def fails_for_good(folder: str) -> str:
    note(folder, "fails_for_good", "called")
    raise flyte.errors.NonRecoverableError("no such customer", code="NoCustomer")


@env.task(retries=2)
async def parent(folder: str) -> dict[str, str]:
    attempt = os.environ["FLYTE_ATTEMPT_NUMBER"]
    note(folder, "parent", f"start {os.getpid()}")
    seen = {"attempt": attempt, "first": str(await step(folder, 1)), "looked up": await looked_up(folder, 1)}
    for call in (fails_once, fails_for_good):
        try:
            seen[call.__name__] = await call(folder)
        except (flyte.errors.RuntimeUserError, flyte.errors.RuntimeUnknownError, ValueError) as e:
            seen[call.__name__] = f"{getattr(e, 'code', type(e).__name__)}: {e}"
    note(folder, "seen", f"{attempt} {seen['fails_once']} | {seen['fails_for_good']}")
    with flyte.group("later"):
        second, third = await asyncio.gather(step(folder, 2), step(folder, 3))
    seen["later"] = f"{second} {third}"
    seen["looked up again"] = await looked_up(folder, 2)
    return seen


@env.task
async def steadfast(folder: str) -> list[int]:
    """Without retries: what befalls the plane is not the task's fault."""
    note(folder, "steadfast", f"start {os.getpid()}")
    results = [await step(folder, 1)]
    results += await asyncio.gather(step(folder, 2), step(folder, 3))
    note(folder, "steadfast", f"end {os.getpid()}")
    return results
