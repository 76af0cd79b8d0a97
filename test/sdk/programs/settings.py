"""What a task sees of the settings that held when its run was made."""

import asyncio
import os

import flyte

small = flyte.TaskEnvironment(name="settings-small", resources=flyte.Resources(cpu="100m"))
env = flyte.TaskEnvironment(name="settings", depends_on=[small])


@env.task
async def look(names: list[str]) -> dict[str, str]:
    """The environment variables of these names, and where the attempt keeps raw data."""
    return {name: os.environ.get(name, "") for name in names} | {"raw": flyte.ctx().raw_data_path.path, "outputs": flyte.ctx().output_path}


@small.task
async def nap() -> None:
    await asyncio.sleep(0.2)


@env.task
async def crowd(n: int) -> None:
    await asyncio.gather(*(nap() for _ in range(n)))
