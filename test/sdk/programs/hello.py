"""Programs run in the tasks' environment, so they import flyte and the standard library only."""

import asyncio

import flyte

env = flyte.TaskEnvironment(name="hello")


@env.task
async def square(x: int) -> int:
    print("squaring", x)
    return x * x


@env.task
async def main(n: int = 3) -> int:
    return sum(await asyncio.gather(*(square(i) for i in range(1, n + 1))))
