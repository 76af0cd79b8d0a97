"""An environment that is deployed."""

import flyte

env = flyte.TaskEnvironment(name="shop")
back = flyte.TaskEnvironment(name="shop-back", description="What the shop needs behind the counter.")


@back.task(short_name="weigh")
async def weigh(grams: int) -> int:
    """Weighs."""
    return grams + 1


@env.task(entrypoint=True)
async def sell(grams: int, price: int = 3) -> int:
    """Sells by weight, with a scale that was deployed before."""
    import flyte.remote

    scale = flyte.remote.Task.get("shop-back.weigh", auto_version="latest")
    return price * await scale(grams=grams)


@env.task
async def who() -> str:
    return flyte.ctx().version
