"""Cached tasks. Each returns something new whenever it really runs, so equal results mean that it did not."""

import asyncio
import os
import uuid

import flyte

env = flyte.TaskEnvironment(name="caching")


@env.task(cache="auto")
async def mint(x: str) -> str:
    return f"{x} {uuid.uuid4()}"


@env.task(cache=flyte.Cache(behavior="override", version_override="1", ignored_inputs=("note",)))
async def mint_ignoring(x: str, note: str) -> str:
    return f"{x} {uuid.uuid4()}"


@env.task(cache=flyte.Cache(behavior="auto", serialize=True))
async def mint_alone(x: str) -> str:
    return f"{x} {uuid.uuid4()}"


@env.task(cache=flyte.Cache(behavior="auto", serialize=True))
async def fail_once(x: str, mark: str) -> str:
    """Fails the first time in its life."""
    if not os.path.exists(mark):
        open(mark, "w").close()
        raise ValueError("the first one fails")
    return f"{x} {uuid.uuid4()}"


@env.task
async def twice(x: str) -> list[str]:
    """The second call finds the result of the first; the third does not look."""
    return [await mint(x), await mint(x), await mint.override(cache="disable")(x)]


@env.task
async def together(x: str, n: int) -> list[str]:
    return list(await asyncio.gather(*(mint_alone(x) for _ in range(n))))


@env.task
async def fail_together(x: str, mark: str, n: int) -> list[str]:
    done = await asyncio.gather(*(fail_once(x, mark) for _ in range(n)), return_exceptions=True)
    return [d if isinstance(d, str) else "failed" for d in done]
