"""Tasks that call tasks: sync and async, nested, with defaults, and with what a run gives to all of its actions."""

import asyncio
import os

import flyte
from flyte.io import File

env = flyte.TaskEnvironment(name="basics", env_vars={"FROM_ENVIRONMENT": "task", "OVERRIDDEN": "task"})


@env.task
def leaf(depth: int) -> str:
    return f"leaf at {depth}"


@env.task
async def nested_async(depth: int) -> str:
    if depth == 0:
        return await leaf.aio(depth)
    return "async > " + await nested_sync.aio(depth - 1)


@env.task
def nested_sync(depth: int) -> str:
    if depth == 0:
        return leaf(depth)
    return "sync > " + asyncio.run(nested_async(depth - 1))


@env.task
def greet(name: str = "world", times: int = 2, loud: bool = False, tags: list[str] = ["a", "ü"]) -> str:
    text = " ".join([f"hello {name}"] * times) + " " + ",".join(tags)
    return text.upper() if loud else text


@env.task
async def nothing() -> None:
    print("nothing to return")


def seen() -> dict[str, str]:
    """What a task can see of its surroundings."""
    context = flyte.ctx()
    return {
        "FROM_RUN": os.environ.get("FROM_RUN", ""),
        "FROM_ENVIRONMENT": os.environ.get("FROM_ENVIRONMENT", ""),
        "OVERRIDDEN": os.environ.get("OVERRIDDEN", ""),
        "foreign": os.environ.get("BIPLANE_TEST_FOREIGN", ""),
        "context": str(sorted(flyte.get_custom_context().items())),
        "run": context.action.run_name,
        "action": context.action.name,
        "project": context.action.project,
        "domain": context.action.domain,
        "base": context.run_base_dir,
        "raw": context.raw_data_path.path,
        "attempt": os.environ.get("FLYTE_ATTEMPT_NUMBER", ""),
    }


@env.task
async def look() -> dict[str, str]:
    return seen()


@env.task
async def surroundings() -> tuple[dict[str, str], dict[str, str], File]:
    with flyte.custom_context(more="from the parent"):
        child = await look()
    with open("note.txt", "w") as note:
        note.write("where raw data goes")
    return seen(), child, await File.from_local("note.txt")
