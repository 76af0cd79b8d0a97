"""Parents with many children: map, gather, groups, limits, exceptions as values."""

import asyncio
import functools
from datetime import timedelta

import flyte
import flyte.errors
import flyte.extras

naps = flyte.TaskEnvironment(name="fanout_naps", plugin_config=flyte.extras.Sleep())
env = flyte.TaskEnvironment(name="fanout", resources=flyte.Resources(cpu="250m"))
wide = flyte.TaskEnvironment(name="fanout_wide", depends_on=[naps])


@naps.task
async def nap(length: timedelta) -> None: ...


@env.task
async def divide(a: int, b: int) -> float:
    return a / b


@env.task
def halves(x: int) -> float:
    return x / 2


@env.task
async def maps() -> dict[str, list[str]]:
    """flyte.map over several arguments, over a partial, with a limit, with exceptions as values; gather within a group."""
    found = {
        "two lists": [str(x) async for x in flyte.map.aio(divide, [1, 2], [4, 5], group_name="pairs")],
        "partial": [str(x) async for x in flyte.map.aio(functools.partial(divide, b=8), [1, 2], concurrency=1)],
        "exceptions": [
            f"{type(x).__name__} {x.code}" if isinstance(x, flyte.errors.RuntimeUserError) else str(x)
            async for x in flyte.map.aio(divide, [1, 2], [0, 1], return_exceptions=True)
        ],
    }
    with flyte.group("the group"):
        found["group"] = [str(x) for x in await asyncio.gather(divide(3, 4), divide(5, 4))]
    try:
        async for _ in flyte.map.aio(divide, [7], [0], return_exceptions=False):
            pass
    except flyte.errors.RuntimeUserError as e:
        found["raised"] = [e.code]
    return found


@env.task
def maps_sync() -> list[float]:
    return list(flyte.map(halves, range(2)))  # type: ignore[arg-type]


@wide.task
async def naps_at_once(n: int, length: timedelta, concurrency: int) -> int:
    count = 0
    async for _ in flyte.map.aio(nap, [length + timedelta(microseconds=i) for i in range(n)], concurrency=concurrency):
        count += 1
    return count


@env.task
async def rest(i: int) -> int:
    await asyncio.sleep(0.2)
    return i


@env.task
async def rests(n: int) -> int:
    return sum(await asyncio.gather(*(rest(i) for i in range(n))))
