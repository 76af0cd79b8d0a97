"""What the benchmarks run with the stock SDK. Every program returns the seconds that it measured itself."""

import asyncio
import datetime
import time

IMPORTED = time.time()  # when the task's module began to be read

import flyte
from flyte.extras import Sleep

env = flyte.TaskEnvironment(name="bench")
naps = flyte.TaskEnvironment(name="bench_naps", plugin_config=Sleep())


@naps.task
async def nap(length: datetime.timedelta) -> None:
    """Has no process: the plane itself lets the time pass."""


@env.task
async def fan(n: int) -> float:
    """n children at once that end at once."""
    began = time.perf_counter()
    await asyncio.gather(*(nap(datetime.timedelta(0)) for _ in range(n)))
    return time.perf_counter() - began


@env.task
async def chain(n: int) -> list[float]:
    """n children, one after the other; the seconds of each."""
    hops = []
    for _ in range(n):
        began = time.perf_counter()
        await nap(datetime.timedelta(0))
        hops.append(time.perf_counter() - began)
    return hops


@env.task
async def leaf() -> list[float]:
    """When its module was read and when it was called, in seconds since 1970."""
    return [IMPORTED, time.time()]
