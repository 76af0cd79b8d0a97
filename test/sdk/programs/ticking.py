"""Tasks that triggers run."""

import datetime
import os

import flyte
from flyte.extras import Sleep

env = flyte.TaskEnvironment(name="ticking")
light = flyte.TaskEnvironment(name="ticking-light", plugin_config=Sleep())


@env.task
async def tell(when: datetime.datetime, word: str, times: int = 2) -> str:
    """What a fire gave to its run."""
    context = sorted((k, v) for k, v in flyte.ctx().custom_context.items() if not k.startswith("_"))
    return f"{when.isoformat()} {word * times} {os.environ.get('FROM_TRIGGER')} {context} {flyte.ctx().action.run_name}"


@light.task
async def tick(duration: datetime.timedelta = datetime.timedelta(0)) -> None:
    """Costs no process."""
