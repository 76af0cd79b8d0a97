#!/usr/bin/env python3
"""Print every descriptor of the installed flyteidl2 package, with what they import, as one FileDescriptorSet.

The output is binary, in an order in which a file comes after the files that it imports. The compatibility test
(test/protocol) reads it.

    python tools/idl/print_descriptors.py > flyteidl2.binpb
"""
import importlib
import pathlib
import sys

import flyteidl2
from google.protobuf import descriptor_pb2


def main():
    root = pathlib.Path(flyteidl2.__path__[0])
    out, seen = descriptor_pb2.FileDescriptorSet(), set()

    def add(file):
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        file.CopyToProto(out.file.add())

    for path in sorted(root.rglob("*_pb2.py")):
        name = ".".join(("flyteidl2", *path.relative_to(root).with_suffix("").parts))
        add(importlib.import_module(name).DESCRIPTOR)
    sys.stdout.buffer.write(out.SerializeToString())


if __name__ == "__main__":
    main()
