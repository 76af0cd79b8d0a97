"""Row `types`: values of every type, files, folders and frames, from the client through tasks and back."""

import hashlib
import pathlib
import typing

import flyte
import flyte.errors
import pytest
from flyte.io import Dir, File

import record
from programs import typed


def test_every_type_between_tasks(plane):
    run = flyte.run(typed.round_trip)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == []
    assert [a.phase for a in record.actions(run.name)] == ["SUCCEEDED"] * 3


def test_every_type_from_the_client_and_back(plane):
    """With the types that the client knows. (Without them the SDK guesses classes, and orders more than ten outputs by name.)"""
    for task, given in zip((typed.scalars, typed.containers), typed.samples()):
        run = flyte.run(task, **given)
        root = record.finish(run)
        assert root.phase == "SUCCEEDED", root.message
        returned = [str if t == typing.Literal["a", "b"] else t for t in typing.get_args(typing.get_type_hints(task.func)["return"])]
        got = run.typed_outputs({f"o{i}": t for i, t in enumerate(returned)})
        assert got == {f"o{i}": sent for i, sent in enumerate(given.values())}
        assert run.typed_inputs(dict(zip(given, returned))) == given


def test_inputs_and_outputs_over_ten_mebibytes(plane):
    text = "ä" * (6 << 20) + "🚀"
    run, refused = flyte.run(typed.grow_twice, text=text), flyte.run(typed.asks_too_much)
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    assert run.outputs()[0] == text + "üü"
    failed = record.finish(refused)
    assert (failed.phase, failed.code) == ("FAILED", "InlineIOMaxBytesBreached") and "exceeds max_bytes limit of 10485760" in failed.message


def test_files_and_folders(plane, tmp_path):
    """Uploads from the client; copies that changing the source leaves alone; files within lists, maps and dataclasses."""
    given = tmp_path / "von mir ü.txt"
    given.write_text("from the client")
    folder = tmp_path / "ordner"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "tief.txt").write_text("deep")
    (folder / "big").write_bytes(b"x" * (12 << 20))
    run = flyte.run(typed.files, given=File.from_local_sync(str(given)), folder=Dir.from_local_sync(str(folder)))
    given.write_text("changed after the upload")
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    seen, from_client, file, copy, made, _ = run.outputs()
    assert seen == {
        "file": "original", "downloaded": "original", "walk ä ö.txt": "original", "walk top.bin": str(1 << 20), "walk empty": "",
        "downloaded folder": "empty top.bin unter ordner/ä ö.txt", "files": "from the client original written in place ü",
        "named": "x=written in place ü y=from the client", "parcel": "ü written in place ü", "maybe": "None",
    }  # fmt: skip
    assert from_client == {"file": "from the client", "walk tief.txt": "4", "walk big": str(12 << 20)}
    # The client reads what tasks made, with the same classes.
    assert pathlib.Path(file.download_sync(str(tmp_path / "back.txt"))).read_text() == "original"
    back = pathlib.Path(copy.download_sync(str(tmp_path / "back")))
    assert {str(p.relative_to(back)): p.stat().st_size for p in back.rglob("*") if p.is_file()} == {"empty": 0, "top.bin": 1 << 20, "unter ordner/ä ö.txt": 8}
    assert hashlib.sha256((back / "top.bin").read_bytes()).digest() == hashlib.sha256(bytes(range(256)) * 4096).digest()
    with made.open_sync("rb") as stream:
        assert stream.read() == "written in place ü".encode()
    parcel = run.typed_outputs({"o5": typed.Parcel})["o5"]
    with parcel.content.open_sync("rb") as stream:
        assert (parcel.label, stream.read()) == ("back", b"original")
    # And gives them to the next run.
    again = flyte.run(typed.read_all, file=made, folder=copy, files=[file], named={}, parcel=parcel, maybe=made)
    assert record.finish(again).phase == "SUCCEEDED"
    seen = again.outputs()[0]
    assert (seen["file"], seen["files"], seen["parcel"]) == ("written in place ü", "original", "back original")


def test_frames(plane):
    pandas = pytest.importorskip("pandas")
    from programs import frames

    sent = pandas.DataFrame({"n": range(1000), "größe": [x / 7 for x in range(1000)], "text": ["ä" * (x % 5) for x in range(1000)]})
    run = flyte.run(frames.frames, raw=sent, wrapped=flyte.io.DataFrame.from_local_sync(sent))
    root = record.finish(run)
    assert root.phase == "SUCCEEDED", root.message
    raw, wrapped, total, columns = run.outputs()
    assert total == 2 * sum(range(1000)) and columns == ["n", "größe", "text"]
    for frame in (raw, wrapped):
        got = frame.open(pandas.DataFrame).all_sync()
        pandas.testing.assert_frame_equal(got, sent.assign(n=sent["n"] + 1))
    # What a run returned goes into the next one.
    again = flyte.run(frames.add_one_wrapped, frame=wrapped)
    assert record.finish(again).phase == "SUCCEEDED"
    got = again.outputs()[0].open(pandas.DataFrame).all_sync()
    pandas.testing.assert_frame_equal(got, sent.assign(n=sent["n"] + 2))
