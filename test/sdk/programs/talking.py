"""Tasks that write: lines, reports."""

import asyncio
import logging
import os
import pathlib
import sys

import flyte
import flyte.report

env = flyte.TaskEnvironment(name="talking")


@env.task
async def many(n: int) -> int:
    """As fast as it can, numbered, with a line that never ends at the end."""
    sys.stdout.write("".join(f"line {i:06d}\n" for i in range(n)))
    sys.stdout.write("no end of line")
    sys.stdout.flush()
    return n


@env.task(report=True)
async def live(folder: str) -> str:
    """Says something, then waits until the test has heard it."""
    heard = pathlib.Path(folder, "heard")
    print("first: ünïcode 🙂", flush=True)
    print("on stderr", file=sys.stderr, flush=True)
    await flyte.report.replace.aio("<b>half way</b>", do_flush=True)
    while not heard.exists():
        await asyncio.sleep(0.02)
    print("last", flush=True)
    os.write(1, b"not utf-8: \xff\xfe\n")
    os.write(1, b"x" * 100_000 + b"\n")
    await flyte.report.replace.aio("<b>all of it</b>", do_flush=True)
    return "done"


@env.task
async def levels() -> str:
    log = logging.getLogger("flyte.user")
    for name in ("debug", "info", "warning", "error"):
        getattr(flyte.logger, name)(f"user {name}")
        getattr(log, name)(f"by name {name}")
    return "done"


@env.task(retries=1, report=True)
async def tries(folder: str) -> str:
    """Fails once; each attempt has its own lines and its own report."""
    mark = pathlib.Path(folder, "tried")
    number = 2 if mark.exists() else 1
    print(f"this is attempt {number}", flush=True)
    await flyte.report.replace.aio(f"<b>report of attempt {number}</b>", do_flush=True)
    if number == 1:
        mark.touch()
        raise ValueError("once more")
    return "done"
