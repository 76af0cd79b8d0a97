"""Tasks that fail in every way in which a task can, and a parent that catches what its children throw."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta

import flyte
import flyte.errors
import flyte.extras

env = flyte.TaskEnvironment(name="failing", resources=flyte.Resources(cpu="500m", memory="250Mi"))


class OutOfPaint(Exception):
    pass


@env.task(retries=2)
async def final() -> int:
    raise flyte.errors.NonRecoverableError("no attempt will mend this", code="BadData")


@env.task
async def fail(how: str) -> int:
    match how:
        case "exception":
            raise ValueError("grüße: the value\nis wrong")
        case "own exception":
            raise OutOfPaint("no more blue")
        case "flyte exception":
            raise flyte.errors.RuntimeUserError("MyCode", "by hand")
        case "long message":
            raise ValueError("x" * 200_000)
        case "sys.exit":
            sys.exit(3)
        case "sys.exit(0)":
            sys.exit(0)
        case "os._exit":
            os._exit(4)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "memory":
            held = [b"x" * (8 << 20) for _ in range(200)]
            return len(held)
        case "bad output":
            return "not a number"  # type: ignore[return-value]
    return 0


HOW = ["exception", "own exception", "flyte exception", "long message", "sys.exit", "sys.exit(0)", "os._exit", "kill", "segfault", "memory", "bad output"]


def described(e: BaseException) -> list[str]:
    return [type(e).__name__, getattr(e, "code", ""), getattr(e, "kind", ""), str(e)[:200]]


@env.task
async def catch_all() -> dict[str, list[str]]:
    caught = {}
    for how, result in zip(HOW, await asyncio.gather(*(fail(how) for how in HOW), return_exceptions=True)):
        caught[how] = described(result)
    try:
        await final()
    except flyte.errors.RuntimeUserError as e:
        caught["final"] = described(e)
    try:
        await fail("memory")
    except flyte.errors.OOMError:
        caught["more memory"] = [str(await fail.override(short_name="with more", resources=flyte.Resources(memory="2Gi"))("memory"))]
    return caught


naps = flyte.TaskEnvironment(name="failing_naps", plugin_config=flyte.extras.Sleep())


@naps.task
async def sleep(length: timedelta) -> None: ...


@env.task
async def fails_beside_others() -> int:
    """Fails while a child still runs."""
    left = asyncio.create_task(sleep(timedelta(hours=1)))
    await asyncio.sleep(0)
    result = await fail("exception")
    await left
    return result


@env.task
async def leaves_children() -> list[int]:
    """Ends well, and leaves processes behind that have cut all ties."""
    direct = subprocess.Popen(["sleep", "600"], start_new_session=True)
    script = "import os, subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    orphan = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return [direct.pid, int(orphan.stdout)]


@env.task
async def system_error() -> int:
    raise flyte.errors.RuntimeSystemError("Storage", "the store was away")
