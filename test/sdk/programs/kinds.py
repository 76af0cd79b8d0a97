"""Tasks that are no Python function in a process."""

import dataclasses
import datetime

import flyte
from flyte.extend import AsyncFunctionTaskTemplate, TaskPluginRegistry
from flyte.extras import ContainerTask, Sleep

naps = flyte.TaskEnvironment(name="kinds-naps", plugin_config=Sleep())


@naps.task
async def nap(duration: datetime.timedelta) -> None: ...


@dataclasses.dataclass
class Echo:
    """Routes a task to the plane's echo."""


@dataclasses.dataclass(kw_only=True)
class EchoTask(AsyncFunctionTaskTemplate):
    plugin_config: Echo
    task_type: str = "echo"


TaskPluginRegistry.register(Echo, EchoTask)

echoes = flyte.TaskEnvironment(name="kinds-echo", plugin_config=Echo())


@echoes.task
async def echo(text: str) -> str: ...


boxed = ContainerTask(name="boxed", image="alpine:3.20", command=["echo", "hello"])
boxes = flyte.TaskEnvironment.from_task("kinds-box", boxed)


plain = flyte.TaskEnvironment(name="kinds", depends_on=[boxes])


@plain.task
async def unpack() -> str:
    """Runs a raw container as a child and tells what the plane says to that."""
    try:
        await boxed()
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return "it ran"
