"""Row `lists`: filters, order, pages that hold while rows are added, watches that never miss the last state."""

import random
import threading
import uuid
from datetime import datetime, timedelta, timezone

import connectrpc.code
import connectrpc.errors
import flyte
import flyte.remote
import pytest
from flyteidl2.actions import actions_service_connect, actions_service_pb2
from flyteidl2.common import identifier_pb2, list_pb2, phase_pb2
from flyteidl2.workflow import run_service_connect, run_service_pb2

import record
from programs import lists

PROJECT = dict(organization="local", name="flytesnacks", domain="development")
ENDED = {phase_pb2.ACTION_PHASE_SUCCEEDED, phase_pb2.ACTION_PHASE_FAILED, phase_pb2.ACTION_PHASE_ABORTED, phase_pb2.ACTION_PHASE_TIMED_OUT}


def short(mark: str, task=lists.nap, length=timedelta(0), **labels):
    """A run that ends at once, marked by a label."""
    return flyte.with_runcontext(labels={"mark": mark, **labels}).run(task, length=length)


def names(sort_by=("created_at", "desc"), **filters) -> list[str]:
    return [r.name for r in flyte.remote.Run.listall(sort_by=sort_by, **filters)]


@pytest.fixture
def service(plane):
    with run_service_connect.RunServiceClientSync("http://" + plane.endpoint) as client:
        yield client


def run_id(run) -> identifier_pb2.RunIdentifier:
    return run.pb2.action.id.run


def test_runs_filtered_and_sorted(plane):
    mark = str(uuid.uuid4())
    began = datetime.now(timezone.utc)
    runs = [short(mark, task, kind=kind) for task, kind in [(lists.nap, "a"), (lists.doze, "b"), (lists.nap, "b"), (lists.doze, "a")]]
    long = short(mark, length=timedelta(hours=1), kind="c")
    for run in runs:
        run.wait(quiet=True)
    made = [r.name for r in runs] + [long.name]
    mine = {"with_labels": {"mark": mark}}
    assert names(**mine) == made[::-1]
    assert names(**mine, sort_by=("created_at", "asc")) == names(**mine, sort_by=None) == made
    assert names(**mine, sort_by=("name", "desc")) == sorted(made, reverse=True)
    assert names(**mine, limit=2) == made[:-3:-1]
    assert names(**mine, in_phase=("running",)) == made[4:]
    assert names(**mine, in_phase=("succeeded",)) == made[3::-1]
    assert names(**mine, in_phase=("running", "succeeded", "recovered")) == made[::-1]
    assert names(**mine, in_phase=("failed",)) == []
    assert names(**mine, task_name="lists_sleeps.doze") == [made[3], made[1]]
    version = flyte.remote.RunDetails.get(name=made[0]).pb2.action.task.task_template.id.version
    assert names(**mine, task_name="lists_sleeps.nap", task_version=version) == [made[4], made[2], made[0]]
    assert names(**mine, task_version="no such version") == []
    assert names(with_labels={"mark": mark, "kind": "b"}) == [made[2], made[1]]
    assert names(**mine, with_label_keys=["kind"]) == made[::-1]
    assert names(**mine, with_label_keys=["unkind"]) == []
    moment = flyte.remote.Run.get(name=made[2]).pb2.action.status.start_time.ToDatetime(timezone.utc)
    assert names(**mine, created_at=flyte.remote.TimeFilter(after=began)) == made[::-1]
    assert names(**mine, created_at=flyte.remote.TimeFilter(after=moment)) == made[:1:-1]
    assert names(**mine, created_at=flyte.remote.TimeFilter(before=moment)) == made[1::-1]
    assert names(**mine, updated_at=flyte.remote.TimeFilter(before=began)) == []

    shown = plane.cli("get", "run", "--with-label", f"mark={mark}", "--in-phase", "running").stdout
    assert long.name in shown and made[0] not in shown
    long.abort()
    long.wait(quiet=True)
    assert names(**mine, in_phase=("aborted",)) == [long.name]
    assert names(**mine, sort_by=("updated_at", "desc"))[0] == long.name


def test_what_cannot_be_listed(service):
    """The field and what is possible are named."""
    scope = dict(project_id=identifier_pb2.ProjectIdentifier(**PROJECT))

    def refused(**request):
        with pytest.raises(connectrpc.errors.ConnectError) as caught:
            service.list_runs(run_service_pb2.ListRunsRequest(request=list_pb2.ListRequest(**request), **scope))
        assert caught.value.code == connectrpc.code.Code.INVALID_ARGUMENT
        return caught.value.message

    equal = list_pb2.Filter.Function.EQUAL
    assert "filters[0]" in refused(filters=[list_pb2.Filter(function=equal, field="run_spec", values=["x"])])
    assert "filters[0]" in refused(filters=[list_pb2.Filter(function=equal, field="name; DROP TABLE runs", values=["x"])])
    assert "sort_by" in refused(sort_by=list_pb2.Sort(key="digest"))
    assert "token" in refused(token="7")
    page = service.list_runs(run_service_pb2.ListRunsRequest(request=list_pb2.ListRequest(limit=1), **scope))
    if page.token:
        assert "token" in refused(token=page.token, sort_by=list_pb2.Sort(key="name"))


@pytest.mark.parametrize("direction", ["ASCENDING", "DESCENDING"])
def test_pages_hold_while_runs_are_added(service, direction):
    mark = str(uuid.uuid4())
    first = [short(mark).name for _ in range(7)]
    added, seen, token = [], [], ""
    while True:
        page = service.list_runs(run_service_pb2.ListRunsRequest(
            project_id=identifier_pb2.ProjectIdentifier(**PROJECT),
            request=list_pb2.ListRequest(
                limit=2, token=token, sort_by=list_pb2.Sort(key="created_at", direction=direction),
                filters=[list_pb2.Filter(function=list_pb2.Filter.Function.EQUAL, field="labels.mark", values=[mark])],
            ),
        ))  # fmt: skip
        seen += [r.action.id.run.name for r in page.runs]
        token = page.token
        if not token:
            break
        assert len(page.runs) == 2
        if len(added) < 3:
            added.append(short(mark).name)
    if direction == "ASCENDING":
        assert seen == first + added, "what was added is at the end"
    else:
        assert seen == first[::-1], "what was added is before the first page"


def test_actions_listed_and_watched(plane, service):
    """Pages are read while the parent goes on making children; a watcher that reads nothing until the end gets every last state."""
    n = 120
    run = flyte.run(lists.fan, n=n)
    lazy = service.watch_actions(run_service_pb2.WatchActionsRequest(run_id=run_id(run)))
    newest = {}

    def keep(message):
        for one in message.enriched_actions:
            before = newest.get(one.action.id.name)
            assert before not in ENDED or one.action.status.phase == before, "an action that has ended changed"
            newest[one.action.id.name] = one.action.status.phase

    keep(next(lazy))
    parent = identifier_pb2.ActionIdentifier(run=run_id(run), name="a0")
    with actions_service_connect.ActionsServiceClientSync("http://" + plane.endpoint) as actions:
        children = {}
        updates = actions.watch_for_updates(actions_service_pb2.WatchForUpdatesRequest(parent_action_id=parent))
        for update in updates:
            if update.HasField("action_update"):
                children[update.action_update.action_id.name] = update.action_update
            if len(children) == n and all(c.phase in ENDED for c in children.values()):
                break
    assert all(c.phase == phase_pb2.ACTION_PHASE_SUCCEEDED and c.output_uri for c in children.values())

    seen, token = [], ""
    while True:
        page = service.list_actions(run_service_pb2.ListActionsRequest(
            run_id=run_id(run), request=list_pb2.ListRequest(limit=7, token=token, sort_by=list_pb2.Sort(key="created_at", direction="ASCENDING")),
        ))  # fmt: skip
        seen += [a.id.name for a in page.actions]
        token = page.token
        if not token:
            break
    root = record.finish(run)
    assert root.phase == "SUCCEEDED"
    assert len(seen) == len(set(seen)) == n + 1 and seen[0] == "a0"
    for message in lazy:  # ends by itself
        keep(message)
    assert newest == dict.fromkeys(seen, phase_pb2.ACTION_PHASE_SUCCEEDED)

    listed = list(flyte.remote.Action.listall(for_run_name=run.name, parent_name="a0", in_phase=("succeeded",), sort_by=("name", "desc")))
    assert [a.name for a in listed] == sorted(seen[1:], reverse=True)
    assert list(flyte.remote.Action.listall(for_run_name=run.name, in_phase=("running",))) == []
    # Whoever comes late gets the whole, once.
    late = list(service.watch_actions(run_service_pb2.WatchActionsRequest(run_id=run_id(run))))
    assert sorted(e.action.id.name for m in late for e in m.enriched_actions) == sorted(seen)


def test_watches_never_miss_the_end(service):
    """Watches begin at any moment of short runs: each ends by itself, and its last message is the last state."""
    dice = random.Random(7)
    mark = str(uuid.uuid4())
    everything, first = {}, threading.Event()

    def watch_all():
        request = run_service_pb2.WatchRunsRequest(project_id=identifier_pb2.ProjectIdentifier(**PROJECT))
        for message in service.watch_runs(request):
            for run in message.runs:
                if run.labels.get("mark") == mark:
                    everything[run.action.id.run.name] = run.action.status.phase
                else:
                    first.set()
            if len(everything) == 13 and all(p in ENDED for p in everything.values()):
                return

    watcher = threading.Thread(target=watch_all, daemon=True)
    watcher.start()
    while not first.wait(0.05):  # until it is known to watch
        short("not " + mark)
    for i in range(12):
        run = short(mark, length=timedelta(milliseconds=dice.choice([0, 1, 5, 20, 100])))
        action = identifier_pb2.ActionIdentifier(run=run_id(run), name="a0")
        if i % 2:
            last = list(service.watch_run_details(run_service_pb2.WatchRunDetailsRequest(run_id=run_id(run))))[-1].details.action
        else:
            last = list(service.watch_action_details(run_service_pb2.WatchActionDetailsRequest(action_id=action)))[-1].details
        assert last.status.phase == phase_pb2.ACTION_PHASE_SUCCEEDED and last.status.HasField("end_time")
    aborted = short(mark, length=timedelta(hours=1))
    aborted.abort("watched")
    details = list(service.watch_run_details(run_service_pb2.WatchRunDetailsRequest(run_id=run_id(aborted))))[-1].details.action
    assert details.status.phase == phase_pb2.ACTION_PHASE_ABORTED and details.abort_info.reason == "watched"
    watcher.join(30)
    assert not watcher.is_alive(), f"the watch of all runs missed an end: {everything}"
    with pytest.raises(connectrpc.errors.ConnectError) as caught:
        missing = identifier_pb2.RunIdentifier(name="nothere", project="flytesnacks", domain="development")
        list(service.watch_run_details(run_service_pb2.WatchRunDetailsRequest(run_id=missing)))
    assert caught.value.code == connectrpc.code.Code.NOT_FOUND
