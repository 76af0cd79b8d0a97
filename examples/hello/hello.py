"""Squares a few numbers, each in a task of its own, and adds them up.

    flyte run hello.py main --n 5          from a shell, or
    python hello.py                        as a program
"""

import asyncio

import flyte

env = flyte.TaskEnvironment(name="hello")


@env.task
async def square(x: int) -> int:
    return x * x


@env.task
async def main(n: int = 4) -> str:
    squares = await asyncio.gather(*(square(i) for i in range(1, n + 1)))
    return f"the sum of the first {n} squares is {sum(squares)}"


if __name__ == "__main__":
    flyte.init_from_config()
    print("  uploading the code and the inputs", flush=True)
    run = flyte.run(main)
    print(f"  run {run.name}: the data plane starts it, the control plane lists it", flush=True)
    run.wait(quiet=True)
    run.raise_for_status()
    print(f"  result: {run.outputs()[0]}", flush=True)
