#!/usr/bin/env python3
"""Write the .proto files of the protocol that Biplane serves, from the descriptors in the installed flyteidl2 package.

A descriptor holds the facts of a protocol (names, numbers, types); this prints exactly those and nothing else: no
comments, no validation rules, no options but the Go package. Run it to add a package, or to follow a new flyteidl2:

    python tools/idl/print_proto.py proto flyteidl2/workflow/run_service.proto ...

Files that the named ones import are written too. The compatibility test (test/protocol) holds the result against the
installed package, so a file edited by hand is compared like a printed one.
"""
import importlib
import pathlib
import sys

from google.protobuf import descriptor_pb2 as d

F = d.FieldDescriptorProto
SCALARS = {number: name[len("TYPE_"):].lower() for name, number in F.Type.items()}
GO_ROOT = "biplane.dev/biplane/gen/"
# Imports that carry options only; we write none.
OPTION_FILES = {"buf/validate/validate.proto", "protoc-gen-openapiv2/options/annotations.proto", "google/api/annotations.proto"}


def load(path):
    module = importlib.import_module(path[: -len(".proto")].replace("/", ".") + "_pb2")
    out = d.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(out)
    return out


def field_type(field, maps):
    name = field.type_name.lstrip(".")
    if name in maps:
        key, value = maps[name].field
        return f"map<{field_type(key, {})}, {field_type(value, {})}>"
    return name and "." + name or SCALARS[field.type]


def print_field(field, maps, indent):
    kind = field_type(field, maps)
    label = ""
    if field.label == F.LABEL_REPEATED and not kind.startswith("map<"):
        label = "repeated "
    elif field.proto3_optional:
        label = "optional "
    return f"{indent}{label}{kind} {field.name} = {field.number};"


def print_reserved(item, indent, enum=False):
    out = []
    for r in item.reserved_range:
        last = r.end if enum else r.end - 1
        out.append(f"{indent}reserved {r.start};" if last == r.start else f"{indent}reserved {r.start} to {last};")
    if item.reserved_name:
        out.append(indent + "reserved " + ", ".join(f'"{n}"' for n in item.reserved_name) + ";")
    return out


def print_enum(enum, indent):
    out = [f"{indent}enum {enum.name} {{"]
    numbers = [v.number for v in enum.value]
    if len(set(numbers)) != len(numbers):
        out.append(f"{indent}  option allow_alias = true;")
    out += print_reserved(enum, indent + "  ", enum=True)
    out += [f"{indent}  {v.name} = {v.number};" for v in enum.value]
    return out + [indent + "}"]


def print_message(message, scope, indent):
    full = f"{scope}.{message.name}"
    maps = {f"{full}.{n.name}": n for n in message.nested_type if n.options.map_entry}
    inner = indent + "  "
    out = [f"{indent}message {message.name} {{"]
    out += print_reserved(message, inner)
    for enum in message.enum_type:
        out += print_enum(enum, inner)
    for nested in message.nested_type:
        if not nested.options.map_entry:
            out += print_message(nested, full, inner)
    opened = set()
    for field in message.field:
        if field.HasField("oneof_index") and not field.proto3_optional:
            if field.oneof_index in opened:
                continue
            opened.add(field.oneof_index)
            out.append(f"{inner}oneof {message.oneof_decl[field.oneof_index].name} {{")
            for member in message.field:
                if member.HasField("oneof_index") and member.oneof_index == field.oneof_index:
                    out.append(print_field(member, maps, inner + "  "))
            out.append(inner + "}")
        else:
            out.append(print_field(field, maps, inner))
    return out + [indent + "}"]


def print_file(file):
    folder = file.name.rsplit("/", 1)[0]
    name = folder.rsplit("/", 1)[-1]
    if folder.endswith("/v2"):
        name = folder.split("/")[-2] + "v2"
    out = ['syntax = "proto3";', "", f"package {file.package};", ""]
    imports = [i for i in file.dependency if i not in OPTION_FILES]
    out += [f'import "{i}";' for i in imports] + ([""] if imports else [])
    out += [f'option go_package = "{GO_ROOT}{folder};{name}";', ""]
    for enum in file.enum_type:
        out += print_enum(enum, "") + [""]
    for message in file.message_type:
        out += print_message(message, file.package, "") + [""]
    for service in file.service:
        out.append(f"service {service.name} {{")
        for m in service.method:
            request = ("stream " if m.client_streaming else "") + "." + m.input_type.lstrip(".")
            response = ("stream " if m.server_streaming else "") + "." + m.output_type.lstrip(".")
            out.append(f"  rpc {m.name}({request}) returns ({response});")
        out += ["}", ""]
    return "\n".join(out).rstrip() + "\n"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    root, todo, done = pathlib.Path(sys.argv[1]), list(sys.argv[2:]), set()
    while todo:
        path = todo.pop()
        if path in done or not path.startswith("flyteidl2/"):
            continue
        done.add(path)
        file = load(path)
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(print_file(file))
        todo += file.dependency
    print(f"{len(done)} files")


if __name__ == "__main__":
    main()
