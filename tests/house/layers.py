#!/usr/bin/env python3
"""Checks the headers: includes and calls point only downwards, none exceeds 16 KB, all but -inl ones begin with #pragma
once. A call that names a function of a higher layer alone compiles where both are included, as templates are looked up
when they are instantiated; so calls are checked by name."""
import pathlib
import re
import sys
import tempfile

from names import blanked, names_in

LAYER = {"base": 0, "codec": 1, "schedule": 1, "wire": 2, "plan": 2, "viz": 3, "kernel": 3, "transport": 3,
         "autograd": 4, "stage": 4.5, "testing": 5, "nn": 5, "runtime": 6, "checkpoint": 7}
# Layers that stand beside each other must not include each other.
APART = {("schedule", "codec"), ("codec", "schedule"), ("transport", "kernel"), ("kernel", "transport"),
         ("transport", "codec"), ("transport", "wire"), ("wire", "schedule"), ("kernel", "schedule"),
         ("plan", "wire"), ("wire", "plan"), ("plan", "codec"), ("viz", "codec"), ("viz", "wire"), ("viz", "kernel"),
         ("viz", "transport"), ("kernel", "viz"), ("kernel", "plan"), ("transport", "viz"), ("transport", "plan"),
         ("transport", "schedule"), ("testing", "nn"), ("nn", "testing"), ("runtime", "testing"), ("runtime", "viz"),
         ("checkpoint", "testing"), ("checkpoint", "viz")}
LIMIT = 16 * 1024
HANA_USER = "runtime/pipeline.hpp"
# The only folder below autograd that may include LibTorch: the transports over its process groups.
C10D = "transport/c10d/"


def upward_calls(texts):
    """Calls of functions that only higher layers declare: `texts` by name of the header."""
    code = {name: blanked(text) for name, text in texts.items() if name.split("/")[0] in LAYER}
    declared_in = {}
    for name, text in code.items():
        for _, function in names_in(text):
            declared_in.setdefault(function, set()).add(name.split("/")[0])
    for name, text in code.items():
        folder = name.split("/")[0]
        for function in sorted(set(re.findall(r"(?<![\w.>:])(\w+)\s*\(", text))):
            folders = declared_in.get(function, set())
            before = re.findall(rf"([\w>&*]+)\s+{function}\s*[({{=,);]", text)
            own = set(before) - {"return", "else", "co_return", "&&"}  # a type: a member or a variable of its own
            if folders and not own and min(LAYER[f] for f in folders) > LAYER[folder]:
                yield f"{name}: {folder} must not call {function}() of {', '.join(sorted(folders))}"


def mistakes(include):
    root = include / "pcomp"
    headers = sorted([*root.rglob("*.hpp"), *root.rglob("*.cuh"), *root.rglob("*.ipp")])
    found, sizes = list(upward_calls({h.relative_to(root).as_posix(): h.read_text() for h in headers})), []
    for header in headers:
        name = header.relative_to(root).as_posix()
        text = header.read_text()
        sizes.append(len(text.encode()))
        if sizes[-1] > LIMIT:
            found.append(f"{name}: {sizes[-1]} bytes, more than {LIMIT}: split it by idea")
        if name.endswith("-inl.hpp"):  # included several times, through one header
            if "#pragma once" in text:
                found.append(f"{name}: is read once for each instruction set, so it has no #pragma once")
        elif not text.startswith("#pragma once"):
            found.append(f"{name}: does not begin with #pragma once")
        if "boost/hana" in text and name != HANA_USER:
            found.append(f"{name}: Boost.Hana belongs to {HANA_USER} alone")
        folder = name.split("/")[0]
        if folder not in LAYER:
            if "/" in name:
                found.append(f"{name}: the folder {folder} is no layer")
            continue
        for target in re.findall(r'#include "([^"]+)"', text):
            path = (header.parent / target).resolve()
            try:
                other = path.relative_to(root.resolve()).as_posix()
            except ValueError:
                found.append(f"{name}: {target} is outside the library")
                continue
            if not path.exists():
                found.append(f"{name}: {target} does not exist")
            to = other.split("/")[0]
            if to not in LAYER:
                found.append(f"{name}: includes the umbrella {other}")
            elif LAYER[to] > LAYER[folder] or (folder, to) in APART:
                found.append(f"{name}: {folder} must not include {other}")
        if LAYER[folder] < 4 and not name.startswith(C10D) and re.search(r"#include <(torch|ATen|c10)/", text):
            found.append(f"{name}: {folder} is torch-free")
    return found, sizes


def self_test():
    cases = {
        "an upward include": ("wire/a.hpp", '#pragma once\n#include "../kernel/b.hpp"\n', "must not include"),
        "a sideways include": ("schedule/a.hpp", '#pragma once\n#include "../codec/b.hpp"\n', "must not include"),
        "an umbrella": ("wire/a.hpp", '#pragma once\n#include "../core.hpp"\n', "umbrella"),
        "no guard": ("base/a.hpp", "int x;\n", "#pragma once"),
        "a guard that hides": ("kernel/a-inl.hpp", "#pragma once\n", "once for each instruction set"),
        "a large header": ("base/a.hpp", "#pragma once\n" + "// x\n" * 4000, "bytes"),
        "torch below autograd": ("kernel/a.hpp", "#pragma once\n#include <torch/torch.h>\n", "torch-free"),
        "hana elsewhere": ("wire/a.hpp", "#pragma once\n#include <boost/hana.hpp>\n", "Hana"),
        "an upward call": ("wire/a.hpp", "#pragma once\ntemplate <class T> int f(T t) { return encoded(t); }\n", "must not call"),
        "a missing file": ("wire/a.hpp", '#pragma once\n#include "c.hpp"\n', "does not exist"),
    }
    for what, (name, text, reason) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for other in ("kernel/b.hpp", "codec/b.hpp", "core.hpp", name):
                path = root / "pcomp" / other
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text if other == name else "#pragma once\n" + (
                    "namespace pcomp::detail { int encoded(int); }\n" if other == "kernel/b.hpp" else ""))
            found, _ = mistakes(root)
            if len(found) != 1 or reason not in found[0]:
                sys.exit(f"{what} was not found: {found}")
    print(f"{len(cases)} kinds of mistakes are found")


if sys.argv[1] == "--self-test":
    self_test()
else:
    found, sizes = mistakes(pathlib.Path(sys.argv[1]))
    sizes.sort()
    print(f"{len(sizes)} headers, median {sizes[len(sizes) // 2]} bytes, largest {sizes[-1]}")
    sys.exit("\n".join(found) or 0)
