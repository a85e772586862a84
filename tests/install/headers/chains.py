#!/usr/bin/env python3
"""chains.py INCLUDE OUT: writes few units to OUT that show of each header of INCLUDE that it includes what it needs.

A unit is a chain of headers, each of which contains (includes, also through others) all the ones before it. So whatever
a header finds in its unit it brings along itself, as if it were compiled alone, and a unit costs what its last header
costs. Each is included twice. A header is in exactly one chain, and there are as few chains as can be (Dilworth: a
matching). OUT/core.txt and OUT/torch.txt list the units without and with LibTorch, OUT/torch_headers.txt the headers that need it.
"""
import pathlib
import re
import sys
import tempfile

LEFT_OUT = {"pcomp.hpp", "cuda.hpp"}  # compiled by the tests with LibTorch, and by those with a CUDA compiler
TORCH = re.compile(r"#include <(torch|ATen|c10)/")


def contained(include):
    """{header: all pcomp headers that it contains}, and the set of headers that need LibTorch."""
    root = (include / "pcomp").resolve()
    texts = {h: h.read_text() for h in sorted([*root.rglob("*.hpp"), *root.rglob("*.cuh")])}
    direct = {h: [(h.parent / name).resolve() for name in re.findall(r'#include "([^"]+)"', text)]
              for h, text in texts.items()}
    closure = {}

    def close(header):
        if header not in closure:
            closure[header] = set()
            for other in direct.get(header, []):
                closure[header] |= {other} | close(other)
        return closure[header]

    def name(header):
        return header.relative_to(root).as_posix()

    with_torch = {name(h) for h in texts if any(TORCH.search(texts.get(o, "")) for o in {h} | close(h))}
    whole = {name(h): {name(o) for o in close(h)} for h in texts
             if not h.name.endswith("-inl.hpp") and name(h) not in LEFT_OUT}
    return whole, with_torch


def chains(headers, contained_in):
    """The headers in as few lists as can be, each header containing those before it."""
    above = {h: [o for o in headers if h in contained_in[o]] for h in headers}
    before = {}  # header: the one before it in its chain

    def place(header, seen):
        for other in above[header]:
            if other not in seen:
                seen.add(other)
                if other not in before or place(before[other], seen):
                    before[other] = header
                    return True
        return False

    for h in headers:
        place(h, set())
    after = {b: h for h, b in before.items()}
    found = []
    for h in headers:
        if h not in before:
            chain = [h]
            while chain[-1] in after:
                chain.append(after[chain[-1]])
            found.append(chain)
    return found


def write(path, text):
    if not path.exists() or path.read_text() != text:  # an unchanged unit is not compiled again
        path.write_text(text)


def generate(include, out):
    whole, with_torch = contained(include)
    out.mkdir(parents=True, exist_ok=True)
    for kind in ("core", "torch"):
        headers = [h for h in sorted(whole) if (h in with_torch) == (kind == "torch")]
        units = []
        for chain in chains(headers, whole):
            unit = out / (re.sub(r"\W", "_", chain[-1]) + ".cpp")
            write(unit, "".join(f"#include <pcomp/{h}>\n#include <pcomp/{h}>\n" for h in chain))
            units.append(unit.as_posix())
        write(out / f"{kind}.txt", ";".join(units))
    write(out / "torch_headers.txt", ";".join(f"pcomp/{h}" for h in sorted(with_torch)))


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "pcomp" / "a"
        root.mkdir(parents=True)
        for name, includes in {"bottom": [], "left": ["bottom"], "right": ["bottom"], "top": ["left", "right"],
                               "alone": []}.items():
            (root / f"{name}.hpp").write_text("".join(f'#include "{i}.hpp"\n' for i in includes))
        (root / "torch.hpp").write_text('#include <torch/torch.h>\n#include "top.hpp"\n')
        whole, with_torch = contained(pathlib.Path(folder))
        found = chains(sorted(whole), whole)
        assert with_torch == {"a/torch.hpp"}, with_torch
        assert sorted(h for c in found for h in c) == sorted(whole), found
        assert all(b in whole[a] for c in found for b, a in zip(c, c[1:])), found
        assert len(found) == 3, found  # alone, and left and right apart: neither contains the other
    print("1 passed, 0 failed")


if __name__ == "__main__":
    self_test() if sys.argv[1:] == ["--self-test"] else generate(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
