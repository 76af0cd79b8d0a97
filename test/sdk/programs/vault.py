"""Tasks that use secrets. They return digests, so that no value lies in an output."""

import hashlib
import os
import pathlib

import flyte

env = flyte.TaskEnvironment(
    name="vault",
    secrets=[
        flyte.Secret("e2e-org"),
        flyte.Secret("e2e-named", as_env_var="RENAMED"),
        flyte.Secret("e2e-file", mount=pathlib.Path("/etc/flyte/secrets")),
    ],
)
narrow = flyte.TaskEnvironment(name="vault-narrow", secrets="e2e-scoped")
missing = flyte.TaskEnvironment(name="vault-missing", secrets="e2e-nobody-made-this")


def digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


@env.task
async def look() -> dict[str, str]:
    folder = pathlib.Path(os.environ["FLYTE_SECRETS_DEFAULT_DIR"])
    file = folder / "e2e-file"
    return {
        "org": digest(os.environ["E2E_ORG"].encode()),
        "named": digest(os.environ["RENAMED"].encode()),
        "file": digest(file.read_bytes()),
        "mode": oct(file.stat().st_mode & 0o777),
        "path": str(file),
    }


@narrow.task
async def scoped() -> str:
    return digest(os.environ["E2E_SCOPED"].encode())


@missing.task
async def never() -> None: ...
