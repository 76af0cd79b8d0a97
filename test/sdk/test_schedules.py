"""Triggers: deployed with tasks or alone, fired by time exactly once, over restarts, pauses and a clock that was wrong."""

import asyncio
import contextlib
import datetime
import os
import signal
import sqlite3
from collections.abc import Callable
from zoneinfo import ZoneInfo

import flyte
import flyte.remote
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyte._initialize import get_client, get_init_config
from flyteidl2.common import identifier_pb2
from flyteidl2.task import common_pb2
from flyteidl2.trigger import trigger_definition_pb2, trigger_service_pb2
from flyteidl2.workflow import run_definition_pb2, run_service_pb2

import conftest
import record
from conftest import until
from programs import ticking

UTC = datetime.timezone.utc
NOW = datetime.timedelta(0)


def in_time(trigger: str, task: str, deploy: Callable[[datetime.datetime], object]) -> datetime.datetime:
    """Deploy a trigger with a time that is near, until the plane has it before that time; return the time, in UTC.

    A fixed rate that starts then fires at once, so that a test need not wait for the minute; one that is deployed
    too late fires an interval later.
    """
    margin = datetime.timedelta(seconds=3)
    while True:
        start = datetime.datetime.now(UTC) + margin
        deploy(start.replace(tzinfo=None))  # the SDK takes it for UTC
        if flyte.remote.Trigger.get(name=trigger, task_name=task).status.updated_at.ToDatetime(UTC) < start:
            return start
        margin *= 2


def hourly(name: str, start: datetime.datetime, **more) -> flyte.Trigger:
    return flyte.Trigger(name=name, automation=flyte.FixedRate(60, start_time=start), **more)


def until_later(name: str, task: str) -> None:
    """Wait for a fire that is due later than everything else that the test has set up."""
    in_time(name, task, lambda start: flyte.remote.Trigger.create(hourly(name, start), task_name=task))
    until(lambda: fires(name, task), 60)


def environment(name: str, task, *triggers: flyte.Trigger) -> flyte.TaskEnvironment:
    """An environment with one task that has these triggers."""
    plugin = ticking.Sleep() if task is ticking.tick else None
    env = flyte.TaskEnvironment(name=name, plugin_config=plugin)
    env.task(triggers=triggers)(task.func)
    return env


def name_of(trigger: str, task: str) -> identifier_pb2.TriggerName:
    config = get_init_config()
    return identifier_pb2.TriggerName(org=config.org, project=config.project, domain=config.domain, name=trigger, task_name=task)


def fires(trigger: str, task: str) -> dict[str, datetime.datetime]:
    """The runs of a trigger and the time that each stands for."""
    listed = asyncio.run(get_client().run_service.list_runs(run_service_pb2.ListRunsRequest(trigger_name=name_of(trigger, task)))).runs
    return {
        run.action.id.run.name: flyte.remote.RunDetails.get(name=run.action.id.run.name).pb2.run_spec.run_start_time.ToDatetime(UTC) for run in listed
    }


def history(trigger: str, task: str) -> list[tuple[int, str]]:
    """The revisions of a trigger, oldest first."""
    request = trigger_service_pb2.GetTriggerRevisionHistoryRequest(name=name_of(trigger, task))
    answer = asyncio.run(get_client().trigger_service.get_trigger_revision_history(request))
    kind = trigger_definition_pb2.TriggerRevisionAction
    return sorted((t.id.revision, kind.Name(t.action).removeprefix("TRIGGER_REVISION_ACTION_")) for t in answer.triggers)


def test_a_fire(plane):
    def deploy(start):
        trigger = hourly(
            "hourly", start, description="every hour", inputs={"when": flyte.TriggerTime, "word": "größer"},
            env_vars={"FROM_TRIGGER": "yes"}, labels={"by": "trigger"}, custom_context={"tenant": "acme"},
        )  # fmt: skip
        flyte.deploy(environment("fire", ticking.tell, trigger), version="1")

    start = in_time("hourly", "fire.tell", deploy)
    name = until(lambda: next(iter(fires("hourly", "fire.tell")), None), 30, message="it did not fire")
    run = flyte.remote.Run.get(name=name)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == f"{start.isoformat()} größergrößer yes [('tenant', 'acme')] {name}"
    assert fires("hourly", "fire.tell") == {name: start}
    meta = run.pb2.action.metadata
    assert (meta.trigger_name, meta.task.id.version) == ("hourly", "1")
    assert meta.source == run_definition_pb2.RUN_SOURCE_SCHEDULE_TRIGGER
    assert dict(run.details().pb2.run_spec.labels.values) == {"by": "trigger"}
    details = flyte.remote.Trigger.get(name="hourly", task_name="fire.tell").pb2
    assert details.status.triggered_at.ToDatetime(UTC) == start
    assert details.description == "every hour"

    # The control plane knows of it, by name.
    known = until(lambda: plane.ledger(name) if name in plane.operator("runs", "--json").stdout else None, 30)
    assert "hourly" in str(known)


def test_on_demand(plane):
    trigger = flyte.Trigger(name="button", inputs={"word": "a", "when": datetime.datetime(2024, 1, 2, tzinfo=UTC)}, env_vars={"FROM_TRIGGER": "pressed"})
    flyte.deploy(environment("demand", ticking.tell, trigger), version="1")
    pressed = flyte.remote.Trigger.get(name="button", task_name="demand.tell")
    assert pressed.pb2.automation_spec.type == common_pb2.TYPE_NONE
    run = flyte.run(pressed, word="b", times=3)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == f"2024-01-02T00:00:00+00:00 bbb pressed [] {run.name}"
    assert run.pb2.action.metadata.trigger_name == "button"
    assert list(fires("button", "demand.tell")) == [run.name]


def test_alone_and_revisions(plane):
    env = flyte.TaskEnvironment(name="alone", plugin_config=ticking.Sleep())
    env.task(ticking.tick.func)
    flyte.deploy(env, version="1")
    nightly = flyte.Trigger(name="nightly", automation=flyte.Cron("30 2 * * *", timezone="Europe/Berlin"))
    flyte.remote.Trigger.create(nightly, task_name="alone.tick")
    plane.cli("create", "trigger", "alone.tick", "typed")
    assert {t.name for t in flyte.remote.Trigger.listall(task_name="alone.tick")} == {"nightly", "typed"}
    listed = next(t for t in flyte.remote.Trigger.listall() if t.name == "nightly")
    cron = listed.automation_spec.schedule.cron
    assert (cron.expression, cron.timezone, listed.is_active) == ("30 2 * * *", "Europe/Berlin", True)

    flyte.remote.Trigger.update("nightly", "alone.tick", False)
    assert not flyte.remote.Trigger.get(name="nightly", task_name="alone.tick").is_active
    plane.cli("update", "trigger", "nightly", "alone.tick", "--activate")
    assert flyte.remote.Trigger.get(name="nightly", task_name="alone.tick").is_active
    flyte.remote.Trigger.create(flyte.Trigger(name="nightly", automation=flyte.Cron("0 4 * * *")), task_name="alone.tick")
    flyte.remote.Trigger.create(flyte.Trigger(name="nightly", automation=flyte.Cron("0 4 * * *")), task_name="alone.tick")  # the same: no revision
    plane.cli("delete", "trigger", "nightly", "alone.tick")
    assert history("nightly", "alone.tick") == [(1, "DEPLOY"), (2, "DEACTIVATE"), (3, "ACTIVATE"), (4, "DEPLOY"), (5, "DELETE")]
    with pytest.raises(ConnectError, match='trigger "nightly" .* does not exist') as gone:
        flyte.remote.Trigger.get(name="nightly", task_name="alone.tick")
    assert gone.value.code == Code.NOT_FOUND
    assert {t.name for t in flyte.remote.Trigger.listall(task_name="alone.tick")} == {"typed"}


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (flyte.Trigger(name="bad", automation=flyte.Cron("61 * * * *")), "cron"),
        (flyte.Trigger(name="bad", automation=flyte.Cron("0 0 * * *", timezone="Moon/Base")), "Moon/Base"),
        (flyte.Trigger(name="bad", automation=flyte.FixedRate(0)), "rate"),
        (flyte.Trigger(name="../bad", automation=flyte.FixedRate(1)), "name"),
        (flyte.Trigger(name="bad", annotations={"biplane.dev/catch-up": "sometimes"}), "catch-up"),
    ],
)
def test_what_is_refused(plane, trigger, words):
    with pytest.raises(Exception, match=words):
        flyte.deploy(environment("refused", ticking.tick, trigger), version="1")
    assert "refused.tick" not in {t.name for t in flyte.remote.Task.listall()}, "all of a deployment happens or nothing"


def test_inactive_ones_do_not_fire(plane):
    def deploy(start):
        later = start + datetime.timedelta(milliseconds=500)
        flyte.deploy(environment("quiet", ticking.tick, hourly("off", start, auto_activate=False), hourly("on", later)), version="1")

    in_time("on", "quiet.tick", deploy)
    until(lambda: fires("on", "quiet.tick"), 30)
    assert not fires("off", "quiet.tick"), "fired while it was off"
    flyte.remote.Trigger.update("off", "quiet.tick", True)
    until_later("mark", "quiet.tick")
    assert not fires("off", "quiet.tick"), "what it missed while it was off was made up for"

    # A deployment with other triggers takes the old ones away.
    flyte.deploy(environment("quiet", ticking.tick), version="2")
    assert not list(flyte.remote.Trigger.listall(task_name="quiet.tick"))


@contextlib.contextmanager
def stopped(plane):
    """The plane's database while nobody uses it; afterwards the demo runs again, on another port."""
    conftest.stop_demo(plane)
    with contextlib.closing(sqlite3.connect(plane.state / "data" / "plane.db")) as db:
        yield db
        db.commit()


def test_pauses_and_wrong_clocks(own_plane):
    """Ten hours' sleep of the machine, and a clock that ran ahead: made by moving what the plane has settled."""
    plane = own_plane()
    policies = {"skip": "skip", "one": None, "all": "all", "some": "all:3"}
    triggers = [
        flyte.Trigger(name=name, automation=flyte.FixedRate(60), annotations={"biplane.dev/catch-up": policy} if policy else None)
        for name, policy in policies.items()
    ]
    triggers.append(flyte.Trigger(name="zone", automation=flyte.Cron("30 9 * * *", timezone="Asia/Tokyo")))
    triggers.append(flyte.Trigger(name="ahead", automation=flyte.FixedRate(1)))
    flyte.deploy(environment("pause", ticking.tick, *triggers), version="1")
    with stopped(plane) as db:
        hours = 3600 * 1_000_000
        db.execute("UPDATE triggers SET scheduled_from = scheduled_from - ?, settled_at = 0 WHERE name IN ('skip', 'one', 'all', 'some')", (10 * hours - 60_000_000 * 5,))
        db.execute("UPDATE triggers SET scheduled_from = scheduled_from - ? WHERE name = 'zone'", (40 * hours,))
        db.execute("UPDATE triggers SET scheduled_from = scheduled_from - ?, settled_at = scheduled_from + ? WHERE name = 'ahead'", (hours, hours))
        (since,) = db.execute("SELECT scheduled_from FROM triggers WHERE name = 'all'").fetchone()
    plane = own_plane(state=plane.state)
    first = datetime.datetime.fromtimestamp(since // 1_000_000, UTC)  # rates count in whole seconds
    due = [first + datetime.timedelta(hours=h) for h in range(1, 10)]  # the tenth is five minutes away

    until(lambda: len(fires("all", "pause.tick")) == 9 and fires("zone", "pause.tick"), 60)
    assert sorted(fires("all", "pause.tick").values()) == due
    assert sorted(fires("some", "pause.tick").values()) == due[-3:]
    assert sorted(fires("one", "pause.tick").values()) == due[-1:]
    (tokyo,) = fires("zone", "pause.tick").values()
    local = tokyo.astimezone(ZoneInfo("Asia/Tokyo"))
    assert (local.hour, local.minute) == (9, 30) and NOW < datetime.datetime.now(UTC) - tokyo < datetime.timedelta(hours=24)

    # A fire later than all of the above shows that nothing else was due.
    until_later("mark", "pause.tick")
    assert not fires("skip", "pause.tick")
    assert not fires("ahead", "pause.tick"), "what had fired ahead of the clock fired again"
    before = {name: fires(name, "pause.tick") for name in policies}

    # Over another restart nothing is repeated, even when the marks of the last fires were lost.
    with stopped(plane) as db:
        db.execute("UPDATE triggers SET settled_at = 0, fired_at = 0 WHERE name IN ('one', 'all', 'some')")
    plane = own_plane(state=plane.state)
    until_later("mark2", "pause.tick")
    assert {name: fires(name, "pause.tick") for name in policies} == before
    until(lambda: all(record.action(run).phase == "SUCCEEDED" for run in before["all"]), 60)


def test_killed_around_a_fire(own_plane):
    """kill -9 of the data plane before, at and after fires: each happens once and its run ends."""
    plane = own_plane()

    def times(first):
        return {f"t{i}": first + i * datetime.timedelta(milliseconds=500) for i in range(6)}

    def deploy(start):
        flyte.deploy(environment("killed", ticking.tick, *(hourly(name, at) for name, at in times(start).items())), version="1")

    starts = times(in_time("t0", "killed.tick", deploy))
    until(lambda: fires("t0", "killed.tick"), 30)
    (victim,) = plane.pids("biplane-data")
    os.kill(victim, signal.SIGKILL)
    until(lambda: (pids := plane.pids("biplane-data")) and victim not in pids, 30, message="the demo did not start the plane again")
    plane.init()

    def all_fired():
        with contextlib.suppress(ConnectError, Exception):
            return all(fires(name, "killed.tick") for name in starts)

    until(all_fired, 60)
    for name, start in starts.items():
        fired = fires(name, "killed.tick")
        assert list(fired.values()) == [start], name
        (run,) = fired
        until(lambda: record.action(run).phase == "SUCCEEDED", 30)
        assert len(record.actions(run)) == 1
