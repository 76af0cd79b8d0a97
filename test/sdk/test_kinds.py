"""Other kinds of tasks: refused with a reason where a container runtime would be needed, or built into the plane."""

import asyncio
import datetime

import flyte
import flyte.remote
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyte._initialize import get_client
from flyteidl2.task import task_definition_pb2
from flyteidl2.workflow import run_service_pb2

import record
from conftest import until
from programs import kinds


def runners(plane) -> list[int]:
    """Processes that run attempts of this plane."""
    return plane.pids("biplane-runner")


def test_containers_are_refused(plane):
    before = {r.name for r in flyte.remote.Run.listall()}
    with pytest.raises(Exception, match='(?s)task "boxed" is a raw container; .*without a container runtime.*Kubernetes'):
        flyte.run(kinds.boxed)
    assert {r.name for r in flyte.remote.Run.listall()} == before


def test_pod_templates_are_refused(plane):
    env = flyte.TaskEnvironment(name="kinds-pod", pod_template="with-a-disk")
    podded = env.task(kinds.unpack.func)
    with pytest.raises(Exception, match='(?s)pod template "with-a-disk"; .*without a container runtime.*Kubernetes'):
        flyte.run(podded)
    with pytest.raises(Exception, match='(?s)pod template "with-a-disk"; .*without a container runtime'):
        flyte.deploy(env, version="k1")
    assert "kinds-pod.unpack" not in {t.name for t in flyte.remote.Task.listall()}

    # A template that is spelled out needs the kubernetes package to write, but not to send.
    spec = task_definition_pb2.TaskSpec()
    spec.task_template.id.name, spec.task_template.type = "kinds-pod.unpack", "python"
    spec.task_template.k8s_pod.pod_spec.update({"containers": [{"name": "primary"}]})
    request = run_service_pb2.CreateRunRequest(task_spec=spec)
    request.project_id.name, request.project_id.domain = "flytesnacks", "development"
    with pytest.raises(ConnectError, match="(?s)has a pod template; .*without a container runtime.*Kubernetes") as refused:
        asyncio.run(get_client().run_service.create_run(request))
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_a_refused_child(plane):
    run = flyte.run(kinds.unpack)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert "is a raw container" in run.outputs()[0] and "Kubernetes" in run.outputs()[0]
    assert len(record.actions(run.name)) == 1


def test_sleep_holds_no_process(plane):
    run = flyte.run(kinds.nap, duration=datetime.timedelta(seconds=1))
    seen = set()

    def ended():
        seen.update(runners(plane))
        return record.action(run.name).phase == "SUCCEEDED"

    until(ended, 60)
    assert not seen, "a process ran for a sleep"
    root = record.action(run.name)
    assert (root.task, len(root.attempts), root.attempts[0].phase) == ("kinds-naps.nap", 1, "SUCCEEDED")
    assert 1 <= root.end - root.attempts[0].start < 30

    forever = flyte.run(kinds.nap, duration=datetime.timedelta(days=3))
    forever.abort("enough")
    root = record.finish(forever)
    assert (root.phase, root.message) == ("ABORTED", "enough")


def test_echo_holds_no_process(plane):
    run = flyte.run(kinds.echo, text="größer")
    root = record.finish(run)
    assert (root.phase, root.task, len(root.attempts)) == ("SUCCEEDED", "kinds-echo.echo", 1)
    assert not runners(plane)
    assert run.outputs()[0] == "größer"
