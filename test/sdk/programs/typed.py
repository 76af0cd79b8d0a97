"""Values of every type of the SDK, from the client through a parent and a child and back."""

import datetime
import enum
import pathlib
import typing

import flyte
import pydantic
from dataclasses import dataclass, field
from flyte.io import Dir, File
from google.protobuf import struct_pb2

env = flyte.TaskEnvironment(name="typed")


class Colour(enum.Enum):
    RED = "red"
    GRÜN = "grün"


@dataclass
class Point:
    x: float
    y: float
    tags: list[str] = field(default_factory=list)


@dataclass
class Shape:
    name: str
    points: list[Point]
    colour: Colour
    extra: dict[str, int] | None = None


class Model(pydantic.BaseModel):
    n: int
    inner: dict[str, list[float]]
    when: datetime.datetime


class Pair(typing.NamedTuple):
    left: int
    right: str


class Options(typing.TypedDict):
    depth: int
    name: str


class Opaque:
    """Known to nobody but Python: pickled."""

    def __init__(self, value: str):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.value == self.value


@env.task
async def scalars(
    i: int, big: int, f: float, s: str, b: bool, moment: datetime.datetime, day: datetime.date, length: datetime.timedelta,
    maybe: int | None, nothing: str | None, either: int | str, colour: Colour, choice: typing.Literal["a", "b"],
) -> tuple[
    int, int, float, str, bool, datetime.datetime, datetime.date, datetime.timedelta,
    int | None, str | None, int | str, Colour, typing.Literal["a", "b"],
]:  # fmt: skip
    return i, big, f, s, b, moment, day, length, maybe, nothing, either, colour, choice


@env.task
async def containers(
    numbers: list[int], empty: list[str], table: dict[str, float], deep: list[dict[str, list[int]]], untyped: dict,
    shape: Shape, model: Model, pair: Pair, options: Options, both: tuple[int, str], message: struct_pb2.Struct, opaque: Opaque,
) -> tuple[
    list[int], list[str], dict[str, float], list[dict[str, list[int]]], dict,
    Shape, Model, Pair, Options, tuple[int, str], struct_pb2.Struct, Opaque,
]:  # fmt: skip
    return numbers, empty, table, deep, untyped, shape, model, pair, options, both, message, opaque


def samples() -> tuple[dict[str, typing.Any], dict[str, typing.Any]]:
    """Values for scalars and containers, with edges."""
    message = struct_pb2.Struct()
    message.update({"ä": [1, True, None]})
    return {
        "i": -7, "big": 2**62 + 1, "f": 1e-300, "s": "naïve 🚀 \u0000\n\t\u202e end" * 3, "b": True,
        "moment": datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=datetime.timezone.utc),
        "day": datetime.date(1999, 12, 31), "length": datetime.timedelta(days=400, microseconds=1),
        "maybe": 5, "nothing": None, "either": "text", "colour": Colour.GRÜN, "choice": "b",
    }, {
        "numbers": list(range(1000)), "empty": [], "table": {"π": 3.14159, "": 0.0}, "deep": [{"a": [1], "ß": []}, {}],
        "untyped": {"a": [1, "x", {"b": None}]},
        "shape": Shape("dreieck", [Point(0, 0), Point(1.5, 2, ["Ω"])], Colour.RED, {"n": 3}),
        "model": Model(n=1, inner={"a": [1.0, 2.5]}, when=datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)),
        "pair": Pair(1, "zwei"), "options": {"depth": 3, "name": "tief"}, "both": (4, "fünf"), "message": message, "opaque": Opaque("geheim"),
    }  # fmt: skip


@env.task
async def round_trip() -> list[str]:
    """Both tasks as children; names what came back different."""
    different = []
    for task, given in zip((scalars, containers), samples()):
        for (name, sent), got in zip(given.items(), await task(**given)):
            if got != sent or type(got) is not type(sent):
                different.append(f"{name}: sent {sent!r}, got {got!r}")
    return different


large = flyte.TaskEnvironment(name="typed_large", resources=flyte.Resources(cpu=1, memory="1500Mi"))


@large.task(max_inline_io_bytes=64 << 20)
async def grow(text: str) -> str:
    return text + "ü"


@large.task(max_inline_io_bytes=64 << 20)
async def grow_twice(text: str) -> str:
    return await grow(await grow(text))


@env.task
async def too_large() -> str:
    return "x" * (11 << 20)


@env.task
async def asks_too_much() -> str:
    return await too_large()


@env.task
async def tamper(kind: str) -> tuple[File, Dir]:
    """Returns a file and a folder, and changes and removes their sources afterwards."""
    folder = pathlib.Path("source")
    (folder / "unter ordner").mkdir(parents=True)
    (folder / "unter ordner" / "ä ö.txt").write_text("original")
    (folder / "top.bin").write_bytes(bytes(range(256)) * 4096)
    (folder / "empty").write_text("")
    single = pathlib.Path("naïve 1+1%.txt")
    single.write_text("original")
    if kind == "async":
        file, copy = await File.from_local(str(single)), await Dir.from_local(str(folder))
    else:
        file, copy = File.from_local_sync(str(single)), Dir.from_local_sync(str(folder))
    single.write_text("changed")
    (folder / "unter ordner" / "ä ö.txt").write_text("changed")
    (folder / "top.bin").unlink()
    return file, copy


@dataclass
class Parcel:
    label: str
    content: File


@env.task
async def read_all(file: File, folder: Dir, files: list[File], named: dict[str, File], parcel: Parcel, maybe: File | None) -> dict[str, str]:
    """Reads in every way: open, download, walk, a range."""
    async with file.open("rb") as stream:
        first = bytes(await stream.read())
    seen = {"file": first.decode(), "downloaded": pathlib.Path(await file.download()).read_text()}
    async for inner in folder.walk(recursive=True):
        async with inner.open("rb") as stream:
            content = bytes(await stream.read())
        seen[f"walk {inner.name}"] = content.decode() if len(content) < 100 else str(len(content))
    here = pathlib.Path(await folder.download())
    seen["downloaded folder"] = " ".join(sorted(str(p.relative_to(here)) for p in here.rglob("*") if p.is_file()))
    seen["files"] = " ".join([pathlib.Path(await f.download()).read_text() for f in files])
    seen["named"] = " ".join([f"{k}={pathlib.Path(await f.download()).read_text()}" for k, f in sorted(named.items())])
    seen["parcel"] = parcel.label + " " + pathlib.Path(await parcel.content.download()).read_text()
    seen["maybe"] = str(maybe)
    return seen


@env.task
def read_sync(file: File, folder: Dir) -> dict[str, str]:
    with file.open_sync("rb") as stream:
        seen = {"file": stream.read().decode()}
    for inner in folder.walk_sync():
        with inner.open_sync("rb") as stream:
            seen[f"walk {inner.name}"] = str(len(stream.read()))
    return seen


@env.task
async def write_new() -> File:
    file = File.new_remote(file_name="neu.txt")
    async with file.open("wb") as stream:
        await stream.write("written in place ü".encode())
    return file


@env.task
async def files(given: File, folder: Dir) -> tuple[dict[str, str], dict[str, str], File, Dir, File, Parcel]:
    """What the client uploaded, what children made, in every container."""
    file, copy = await tamper("async")
    other, _ = await tamper("sync")
    made = await write_new()
    from_client = read_sync.aio(given, folder)
    seen = await read_all(file, copy, [given, other, made], {"x": made, "y": given}, Parcel("ü", made), None)
    return seen, await from_client, file, copy, made, Parcel("back", other)
