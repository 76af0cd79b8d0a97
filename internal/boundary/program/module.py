"""Tasks that put a marker into everything that a program of the SDK can hold. The module's own name has one."""

import os
import pathlib

import flyte
import flyte.io
import flyte.report

CORE = os.environ["BOUNDARY_CORE"] if "BOUNDARY_CORE" in os.environ else pathlib.Path(__file__).stem[: -len("modn")]
IN_SOURCE = "@CORE@code"

image = flyte.Image.from_debian_base(name="boundary").with_env_vars({"FROM_IMAGE": CORE + "imge"})
folder = pathlib.Path(__file__).parent / (CORE + "imgd")
if folder.exists():
    image = image.with_source_folder(folder)
vault = flyte.TaskEnvironment(name="boundary-vault", image=image, secrets=flyte.Secret("boundary", as_env_var="FROM_SECRET"))
env = flyte.TaskEnvironment(name="boundary", image=image, env_vars={"FROM_TASK": CORE + "envt"}, description=CORE + "desc", depends_on=[vault])


@flyte.trace
async def traced(value: str) -> str:
    return value[: len(CORE)] + "trou"


@env.task(cache=flyte.Cache(behavior="override", version_override="1", salt=CORE + "salt"))
async def cached(value: str) -> str:
    return value


@env.task
async def fails(message: str) -> None:
    raise ValueError(message)


@env.task(retries=1)
async def twice() -> str:
    checkpoint = flyte.ctx().checkpoint
    if await checkpoint.load() is None:
        await checkpoint.save((CORE + "chkp").encode())
        os._exit(1)
    return "done"


@env.task
async def file() -> flyte.io.File:
    path = pathlib.Path(CORE + "rawn.txt")
    path.write_text(CORE + "rawd")
    return await flyte.io.File.from_local(str(path))


@vault.task
async def secret() -> int:
    return len(os.environ["FROM_SECRET"])


@env.task(report=True)
async def main(value: str, default: str = "@CORE@dflt") -> str:
    import sys

    print(CORE + "stdo", flush=True)
    print(CORE + "stde", file=sys.stderr, flush=True)
    await flyte.report.replace.aio(f"<b>{CORE}rept</b>", do_flush=True)
    condition = await flyte.new_condition.aio("boundary", prompt=CORE + "cprm", description=CORE + "cdsc", data_type=str)
    answer = await condition.wait.aio()
    await traced(CORE + "trin")
    await cached(CORE + "cach")
    await twice()
    await file()
    await secret()
    try:
        await fails(CORE + "exce")
    except Exception as failure:  # noqa: BLE001 -- what kind it is does not matter
        print(failure)
    seen = [os.environ.get(name, "") for name in ("FROM_IMAGE", "FROM_TASK", "FROM_RUN", "FROM_SETTINGS")]
    seen.append(str(flyte.get_custom_context()))
    print(answer, seen, IN_SOURCE, default, flush=True)
    missing = [place for place in ("imge", "envt", "envv", "sett", "ctxc") if CORE + place not in str(seen)]
    if missing or not answer.endswith("cval"):
        raise RuntimeError(f"markers did not arrive: {missing} {answer}")
    return value[: len(CORE)] + "outp"


@env.task(triggers=flyte.Trigger("boundary", auto_activate=False, inputs={"message": CORE + "trgi"}, env_vars={"FROM_TRIGGER": CORE + "trge"}, description=CORE + "trgd"))
async def dies(message: str) -> str:
    """Its error ends the run."""
    raise RuntimeError(message)
