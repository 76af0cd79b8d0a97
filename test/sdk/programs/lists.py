"""Short sleeps, which cost the plane nothing, and a parent of many."""

import asyncio
from datetime import timedelta

import flyte
from flyte.extras import Sleep

sleeps = flyte.TaskEnvironment(name="lists_sleeps", plugin_config=Sleep())
env = flyte.TaskEnvironment(name="lists", depends_on=[sleeps])


@sleeps.task
async def nap(length: timedelta) -> None: ...


@sleeps.task
async def doze(length: timedelta) -> None: ...


@env.task
async def fan(n: int, breadth: int = 20) -> int:
    """n children, breadth at a time, each another length."""
    for first in range(0, n, breadth):
        await asyncio.gather(*(nap(timedelta(milliseconds=i)) for i in range(first, min(first + breadth, n))))
    return n
