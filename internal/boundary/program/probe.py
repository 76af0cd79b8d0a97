"""Runs the tasks of the module beside it through the stock SDK, and says in JSON what it did.

The environment says what to use: BOUNDARY_CONFIG, the client's config file; BOUNDARY_CORE, the core of the markers of content;
BOUNDARY_NAME, the marker for names.
"""

import importlib
import json
import os
import pathlib
import sys
import time

import flyte
import flyte.remote
from flyte.models import ActionPhase
from flyte.remote import Project, Secret, Settings

core, name = os.environ["BOUNDARY_CORE"], os.environ["BOUNDARY_NAME"]
here = pathlib.Path(__file__).parent


def until(what, seconds: float = 180):
    deadline = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what.__name__} did not come true in {seconds} s")
        time.sleep(0.05)
    return value


def client(project: str | None) -> None:
    flyte.init_from_config(os.environ["BOUNDARY_CONFIG"], root_dir=here, project=project)


sys.path.insert(0, str(here))
module = importlib.import_module(core + "modn")
client(None)
project = f"boundary-{name}"
Project.create(project, f"Boundary {name}", description=core + "prjd", labels={"kept": core + "plab"})
client(project)
Settings.get_settings_for_edit(domain="development", project=project).update_settings({"environment_variables": {"FROM_SETTINGS": core + "sett"}})
Secret.create("boundary", core + "secr")

flyte.deploy(module.env, version=name)
context = flyte.with_runcontext(
    name=f"{name}-a", env_vars={"FROM_RUN": core + "envv"}, labels={"kept": core + "labl"}, annotations={"kept": core + "anno"},
    custom_context={"kept": core + "ctxc"},
)
run = context.run(module.main, value=core + "inpt")


def condition():
    found = [c for c in flyte.remote.Condition.listall(run_name=run.name) if c.phase == "ACTION_PHASE_PAUSED"]
    ended = flyte.remote.Run.get(name=run.name).done()
    if ended:
        raise RuntimeError(f"the run ended before it asked: {flyte.remote.Run.get(name=run.name).phase}")
    return found[0] if found else None


until(condition).signal(core + "cval")
run.wait(quiet=True)
outputs = str(run.outputs())
died = flyte.with_runcontext(name=f"{name}-b").run(module.dies, message=core + "dead")
died.wait(quiet=True)
phases = [flyte.remote.Run.get(name=r.name).phase for r in (run, died)]
wrong = phases != [ActionPhase.SUCCEEDED, ActionPhase.FAILED] or core + "outp" not in outputs
Secret.delete("boundary")
Project.update(id=project, state="archived")
if wrong:
    sys.exit(f"the runs {run.name} and {died.name} went otherwise than they should: {phases}, {outputs}")
print(json.dumps({"project": project, "runs": [run.name, died.name]}))
