"""Tasks with layered images, and what they see of them."""

import asyncio
import os
import pathlib
import sys
from importlib import metadata

import flyte

files = pathlib.Path(__file__).parent / "imaged_files"

layered = (
    flyte.Image.from_debian_base(name="e2e-layered")
    .with_pip_packages("six==1.17.0")
    .with_requirements(files / "requirements.txt")
    .with_source_folder(files / "shop")
    .with_source_folder(files / "shop", dst="/opt/data", copy_contents_only=True)
    .with_env_vars({"GREETING": "guten Tag", "DATA": "/opt/data"})
)
env = flyte.TaskEnvironment(name="imaged", image=layered)
# The same content under another name is the same environment.
twin = flyte.TaskEnvironment(name="imaged-twin", image=layered.clone(name="e2e-twin", extendable=True))
plain = flyte.TaskEnvironment(name="imaged-plain", depends_on=[env, twin])


def packages(names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def surroundings() -> dict[str, str]:
    seen = packages(["six", "idna", "iniconfig", "flyte"])
    seen["prefix"] = sys.prefix
    seen["greeting"] = os.environ.get("GREETING", "")
    here = pathlib.Path("shop/prices.txt")
    seen["source"] = here.read_text() if here.exists() else ""
    seen["data"] = (pathlib.Path(os.environ["DATA"]) / "prices.txt").read_text() if "DATA" in os.environ else ""
    return seen


@env.task
async def look(mark: bool = False) -> dict[str, str]:
    seen = surroundings()
    if mark:
        pathlib.Path("shop/prices.txt").write_text("changed by one attempt\n")
    return seen


@twin.task
async def look_too() -> dict[str, str]:
    return surroundings()


@plain.task
async def compare() -> list[dict[str, str]]:
    """What tasks of three images see; the first changes its own copy of a source folder before the second looks."""
    first = await look(mark=True)
    return [surroundings(), first, *await asyncio.gather(look(), look_too())]
