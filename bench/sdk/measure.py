"""Runs the programs of the benchmarks through the stock SDK and writes what it saw, a line of JSON for each run.

    measure.py ENDPOINT CASE ARGUMENT      cases: fan, chain, leaf
"""

import json
import sys
import time

import flyte

import programs


def run(task, **inputs):
    began = time.time()
    submitted = flyte.run(task, **inputs)
    created = time.time()
    submitted.wait(quiet=True)
    submitted.raise_for_status()
    value = submitted.outputs()[0]
    return {"submit": created - began, "total": time.time() - began, "run": submitted.name, "value": value}


def main(endpoint, case, argument):
    flyte.init(endpoint=endpoint, insecure=True, project="flytesnacks", domain="development", image_builder="remote")
    if case == "leaf":
        for _ in range(int(argument)):
            print(json.dumps(run(programs.leaf)), flush=True)
    else:
        print(json.dumps(run(getattr(programs, case), n=int(argument))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
