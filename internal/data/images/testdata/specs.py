"""Writes what the stock SDK's remote builder uploads for a few images, and what its client makes of the built-in task.

Usage: specs.py OUT TASK_DETAILS
"""

import asyncio
import pathlib
import shutil
import sys
import uuid

import flyte
from flyte import Image, remote
from flyte._internal.imagebuild import remote_builder
from flyte._internal.runtime.convert import convert_from_native_to_inputs
from flyte.remote._task import TaskDetails
from flyteidl2.task import task_definition_pb2

here = pathlib.Path(__file__).parent
out = pathlib.Path(sys.argv[1])


class Upload:
    """Stands in for the upload to a plane: puts the file where the test finds it."""

    async def aio(self, path):
        target = out / self.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        return "", str(target)


remote.upload_file = upload = Upload()


# Every run has images of its own, so that they are built and not found.
fresh = {"RUN_OF_THE_TEST": uuid.uuid4().hex}


def base(name):
    return Image.from_debian_base(name=name)


images = {
    "plain": base("plain"),
    "layered": base("layered")
    .with_pip_packages("six==1.17.0", extra_args="--no-deps")
    .with_requirements(here / "requirements.txt")
    .with_source_folder(here / "sources" / "shop")
    .with_source_folder(here / "sources" / "shop", dst="/opt/data", copy_contents_only=True)
    .with_source_file(here / "requirements.txt", dst="conf/list.txt")
    .with_env_vars(fresh)
    .with_env_vars({"GREETING": "guten Tag", "DATA": "/opt/data"})
    .with_env_vars({"BOTH": "$GREETING, $PRICE", "PATH": "/opt/data:$PATH", "PYTHONPATH": "/opt/data"}),
    "project": base("project").with_uv_project(here / "project" / "pyproject.toml", project_install_mode="install_project")
    .with_env_vars(fresh),
    "dependencies": base("dependencies").with_uv_project(here / "project" / "pyproject.toml").with_env_vars(fresh),
    "script": Image.from_uv_script(here / "script.py", name="script").with_env_vars(fresh),
    "apt": base("apt").with_apt_packages("curl", "git"),
    "commands": base("commands").with_commands(["make world"]),
    "poetry": base("poetry").with_poetry_project(
        here / "project" / "pyproject.toml", poetry_lock=here / "project" / "uv.lock"
    ),
    "foreign": Image.from_base("debian:13").clone(name="foreign", extendable=True).with_pip_packages("six"),
    "secret": base("secret").with_pip_packages("six", secret_mounts="TOKEN"),
    "elsewhere": base("elsewhere").with_pip_packages("six", extra_args="--target=/tmp/elsewhere"),
}


async def main():
    for name, image in images.items():
        upload.name = name
        image.validate()
        _, context = await remote_builder._validate_configuration(image)
        (out / name / "target").write_text(f"{image.name}:{image._final_tag}")
    details = task_definition_pb2.TaskDetails()
    details.ParseFromString(pathlib.Path(sys.argv[2]).read_bytes())
    entity = TaskDetails(details).override(secrets=None)
    inputs = await convert_from_native_to_inputs(entity.interface, spec="s3://b/spec.pb", context="", target_image="a:b")
    (out / "inputs.pb").write_bytes(inputs.proto_inputs.SerializeToString())


asyncio.run(main())
