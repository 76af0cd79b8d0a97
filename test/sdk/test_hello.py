"""The thinnest true line: a program in, a result out, the record complete in both planes."""

import flyte

import record
from conftest import until
from programs import hello


def test_hello(plane):
    run = flyte.run(hello.main, n=2)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED"
    assert run.outputs()[0] == 5
    recorded = record.actions(run.name)
    assert [a.phase for a in recorded] == ["SUCCEEDED"] * 3
    assert {a.parent for a in recorded} == {"", "a0"}
    assert all(len(a.attempts) == 1 and a.attempts[0].start <= a.attempts[0].end for a in recorded)

    def reported():
        known = plane.ledger(run.name)
        return known if known["run"]["phase"] == "PHASE_SUCCEEDED" else None

    known = until(reported, 30, message="the control plane did not hear of the end")
    assert len(known["actions"]) == 3
