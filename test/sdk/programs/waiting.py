"""A task that runs until somebody ends it."""

import time

import flyte

env = flyte.TaskEnvironment(name="waiting")


@env.task
async def linger(seconds: int = 600) -> int:
    time.sleep(seconds)
    return seconds
