"""The thinnest true line: a program in, a result out, the record complete in both planes."""

import asyncio

import flyte

import record
from conftest import until

env = flyte.TaskEnvironment(name="hello")


@env.task
async def square(x: int) -> int:
    print("squaring", x)
    return x * x


@env.task
async def main(n: int = 3) -> int:
    return sum(await asyncio.gather(*(square(i) for i in range(1, n + 1))))


def test_hello(plane):
    run = flyte.run(main, n=2)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED"
    assert run.outputs()[0] == 5
    recorded = record.actions(run.name)
    assert [a.phase for a in recorded] == ["SUCCEEDED"] * 3
    assert {a.parent for a in recorded} == {"", "a0"}
    assert all(len(a.attempts) == 1 and a.attempts[0].start <= a.attempts[0].end for a in recorded)

    def reported():
        known = plane.ledger(run.name)
        return known if known["run"]["state"]["phase"] == "PHASE_SUCCEEDED" else None

    known = until(reported, 30, message="the control plane did not hear of the end")
    assert len(known["actions"]) == 3
