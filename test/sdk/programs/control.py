"""Tasks to be stopped. They write what happens to them below a folder that the test looks at."""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import time
from datetime import timedelta

import flyte
import flyte.errors
from flyte.extras import Sleep

env = flyte.TaskEnvironment(name="control")
sleeps = flyte.TaskEnvironment(name="control_sleeps", plugin_config=Sleep())


def note(folder: str, name: str, text: str = "") -> None:
    """Write a file at once, whole."""
    path = pathlib.Path(folder, name)
    path.with_suffix(".part").write_text(text)
    path.with_suffix(".part").rename(path)


@sleeps.task
async def nap(length: timedelta) -> None: ...


@env.task(retries=3)
async def wait_for_ever(folder: str, name: str) -> str:
    """Has a process of its own below it. It could be tried again, but must not be after an abort."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(folder, name, f"{os.getpid()} {child.pid}")
    await asyncio.sleep(600)
    return "never"


@env.task
async def family(folder: str) -> list[str]:
    """Two that run, below a parent that waits for both and for a sleep."""
    await asyncio.gather(wait_for_ever(folder, "one"), wait_for_ever(folder, "two"), nap(timedelta(hours=1)))
    return []


@env.task
async def cleans_up(folder: str) -> str:
    """Asked to end, it says good-bye and ends by itself."""

    def goodbye(number, frame):
        note(folder, "goodbye", str(number))
        sys.exit(3)

    signal.signal(signal.SIGTERM, goodbye)
    note(folder, "polite", str(os.getpid()))
    await asyncio.sleep(600)
    return "never"


@env.task
async def ignores(folder: str) -> str:
    """Asked to end, it goes on."""
    signal.signal(signal.SIGTERM, lambda number, frame: note(folder, "heard", str(time.time())))
    note(folder, "stubborn", str(os.getpid()))
    await asyncio.sleep(600)
    return "never"


@env.task
async def carries_on(folder: str) -> str:
    """One child is aborted by somebody; the parent goes on."""
    try:
        return await wait_for_ever(folder, "child")
    except flyte.errors.ActionAbortedError as e:
        await nap(timedelta(0))
        return f"{type(e).__name__}: {e}"


@env.task
async def first_wins(folder: str) -> str:
    """The quick one ends and the slow ones are cancelled: one that runs, and a sleep."""
    slow = [asyncio.create_task(wait_for_ever(folder, "slow")), asyncio.create_task(nap(timedelta(hours=1)))]
    while not os.path.exists(os.path.join(folder, "slow")):
        await asyncio.sleep(0.05)
    await nap(timedelta(0))
    for task in slow:
        task.cancel()
    ended = await asyncio.gather(*slow, return_exceptions=True)
    return " ".join(type(e).__name__ for e in ended)


@env.task
async def floods(folder: str, n: int) -> int:
    """Goes on making children, each a little later than the one before, whatever happens to them."""
    note(folder, "flooding", str(os.getpid()))
    made = 0
    for i in range(n):
        try:
            await nap(timedelta(microseconds=i))
        except BaseException as e:
            note(folder, "refused", repr(e))
            raise
        made += 1
    return made
