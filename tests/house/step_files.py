#!/usr/bin/env python3
"""Lists the headers that one training step passes through, from the includes, in docs/architecture.md.

A reader of a step starts at Engine::step and opens what its file includes and so on, down to what is a question of its
own: kernels, schedules' construction, LibTorch. `--check` compares; without it the list is written.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
START = "runtime/impl/engine.ipp"
# Rooms that a step calls as a whole: what is behind them is read for other questions.
CLOSED = ("base/", "codec/", "wire/", "kernel/", "plan/", "viz/", "schedule/", "testing/", "transport/c10d/", "transport/impl/", "checkpoint/", "runtime/impl/report.ipp", "runtime/impl/totals.ipp", "runtime/process_setup.hpp", "stage/")


def opened(include):
    seen, queue = [], [START]
    while queue:
        name = queue.pop(0)
        if name in seen or name.startswith(CLOSED):
            continue
        seen.append(name)
        text = (include / name).read_text()
        for target in re.findall(r'#include "([^"]+)"', text):
            queue.append((include / name).parent.joinpath(target).resolve().relative_to(include.resolve()).as_posix())
    return seen


def single_includers(include):
    count = {}
    for header in [*include.rglob("*.hpp"), *include.rglob("*.cuh"), *include.rglob("*.ipp")]:
        for target in set(re.findall(r'#include "([^"]+)"', header.read_text())):
            path = (header.parent / target).resolve()
            count.setdefault(path, set()).add(header)
    headers = [h for h in [*include.rglob("*.hpp"), *include.rglob("*.cuh")] if h.parent != include]
    return sum(len(count.get(h.resolve(), ())) == 1 for h in headers), len(headers)


def main():
    include = ROOT / "include" / "pcomp"
    files = opened(include)
    one, all = single_includers(include)
    text = f"{len(files)} files: " + ", ".join(f"`{f}`" for f in sorted(files)) + "."
    page = PAGE.read_text()
    block = re.compile(r"(<!-- step-files -->\n).*?(\n<!-- /step-files -->)", re.S)
    now = block.search(page)
    if not now:
        return "docs/architecture.md has no place for the list"
    print(f"a training step: {len(files)} files; included by one header alone: {one} of {all}")
    for folder in sorted({h.parent for h in include.rglob("*.hpp")} | {h.parent for h in include.rglob("*.cuh")}):
        n = sum(h.suffix in (".hpp", ".cuh") for h in folder.iterdir())
        if n > 20:
            return f"{folder.relative_to(include)} has {n} headers: no folder has more than 20"
    if len(files) > 28:
        return "more than 28 files to open for one training step"
    if "--check" in sys.argv:
        return 0 if now[0] == now[1] + text + now[2] else "docs/architecture.md lists others: run tests/house/step_files.py"
    PAGE.write_text(page[:now.start()] + now[1] + text + now[2] + page[now.end():])
    return 0


sys.exit(main())
