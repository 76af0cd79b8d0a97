"""Data frames; in an environment of their own, since the base environment has no pandas."""

import flyte
import flyte.io
import pandas as pd

env = flyte.TaskEnvironment(
    name="frames", image=flyte.Image.from_debian_base(name="e2e-frames").with_pip_packages("pandas", "pyarrow"), resources=flyte.Resources(cpu=1, memory="1Gi")
)


@env.task
async def add_one(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(n=frame["n"] + 1)


@env.task
async def add_one_wrapped(frame: flyte.io.DataFrame) -> flyte.io.DataFrame:
    opened = await frame.open(pd.DataFrame).all()
    return await flyte.io.DataFrame.from_local(opened.assign(n=opened["n"] + 1))


@env.task
async def frames(raw: pd.DataFrame, wrapped: flyte.io.DataFrame) -> tuple[pd.DataFrame, flyte.io.DataFrame, int, list[str]]:
    opened = await wrapped.open(pd.DataFrame).all()
    total = int(raw["n"].sum() + opened["n"].sum())
    return await add_one(raw), await add_one_wrapped(wrapped), total, list(raw.columns)
