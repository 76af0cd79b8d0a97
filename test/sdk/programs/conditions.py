"""Tasks that wait for somebody outside."""

import asyncio

import flyte
import flyte.errors

env = flyte.TaskEnvironment(name="conditions")


@env.task
async def every_type() -> tuple[bool, int, float, str]:
    """All four are asked for before the first is waited for."""
    agree = await flyte.new_condition.aio("agree", prompt="Go on?", data_type=bool)
    count = await flyte.new_condition.aio("count", prompt="**How many?**", prompt_type="markdown", data_type=int)
    share = await flyte.new_condition.aio("share", data_type=float)
    words = await flyte.new_condition.aio("words", data_type=str, description="anything")
    return tuple(await asyncio.gather(agree.wait.aio(), count.wait.aio(), share.wait.aio(), words.wait.aio()))


@env.task
def ask(question: str) -> str:
    """A sync task with one condition."""
    return flyte.new_condition(question, data_type=str).wait()


@env.task
async def impatient() -> str:
    condition = await flyte.new_condition.aio("late", data_type=str, timeout=0.5)
    try:
        return await condition.wait.aio()
    except flyte.errors.ConditionTimedoutError as e:
        return f"timed out: {e}"


@env.task
async def tell(url: str) -> float:
    """Somebody is told by a webhook that the task waits, and where to answer."""
    payload = {"text": "how much? answer at {callback_uri}", "nested": [{"to": "{callback_uri}"}]}
    hook = flyte.ConditionWebhook(url=url, payload=payload)
    return await (await flyte.new_condition.aio("how much", data_type=float, webhook=hook)).wait.aio()
