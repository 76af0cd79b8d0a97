"""Uploads a file and downloads it again, each by a signed URL."""

import asyncio
import pathlib

import flyte
import flyte.remote
from flyte.remote._action import Action
from flyteidl2.workflow import run_definition_pb2

flyte.init_from_config("config.yaml")
path = pathlib.Path("page.html")
path.write_text("<p>it came through</p>")
flyte.remote.upload_file(path)

message = run_definition_pb2.Action()
message.id.name = "page.html"
message.id.run.name = "r1"
assert Action(pb2=message).get_report(attempt=1) == "<p>it came through</p>"
