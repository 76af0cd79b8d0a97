"""Programs to run again. What they count, they count in files of a folder, so that a test sees what really ran."""

import asyncio
import os
import pathlib
import uuid

import flyte

env = flyte.TaskEnvironment(name="again")


def count(folder: str, what: str) -> None:
    pathlib.Path(folder, f"{what}.{uuid.uuid4()}").touch()


@env.task
async def step(folder: str, x: int) -> str:
    count(folder, f"step{x}")
    return f"{x} by {flyte.ctx().action.run_name}"


@env.task
async def fragile(folder: str, x: int) -> str:
    """Fails until somebody mends it."""
    count(folder, f"fragile{x}")
    if not os.path.exists(os.path.join(folder, "mended")):
        raise RuntimeError("broken")
    return f"mended {x} by {flyte.ctx().action.run_name}"


@flyte.trace
async def traced(folder: str, x: int) -> str:
    count(folder, f"trace{x}")
    return f"traced {x} in {flyte.ctx().action.run_name}"


@env.task
async def branch(folder: str, x: int) -> list[str]:
    """A parent below a parent, with a trace, of which one child fails."""
    return [await traced(folder, x), await step(folder, x), await fragile(folder, x)]


@env.task
async def main(folder: str, n: int, note: str = "") -> list[str]:
    count(folder, f"main{n}{note}")
    return [await step(folder, n), *(await branch(folder, n + 1))]


@env.task
async def approved(folder: str) -> str:
    """One condition, then what fails."""
    answer = await (await flyte.new_condition.aio("approve", data_type=str)).wait.aio()
    return answer + " " + await fragile(folder, 0)
