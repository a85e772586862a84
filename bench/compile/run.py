#!/usr/bin/env python3
"""What pcomp costs to compile: seconds of processor time and peak memory, for each compiler found.

Units are compiled in turn, and again, so that a machine that slows down slows all of them; each figure is the median of
its runs. Usage: run.py [--runs N] [--torch DIR] [COMPILER...]; by default g++ and clang++. With a LibTorch (DIR, or the one
in .venv) also torch/torch.h alone, <pcomp/pcomp.hpp> and the first program, each header-only and with pcomp::compiled.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

CORE = "#include <pcomp/core.hpp>\nusing namespace pcomp;\n"
TABLE = CORE + "using Plan = Schedule<{policy}, {stages}, {micros}>;\n" \
               "static_assert(Plan::deadlock_free && Plan::ticks > 0 && Plan::peak_live[0] > 0);\n"
WIRES = ["Downsample<2> | TopK<Ratio<1, 10>> | Quant<8>", "Quant<4>", "TopK<Ratio<1, 20>> | Quant<4>"]


def program(wires):
    lines = "".join(f"  use(kernel::wire_kernels({w}));\n" for w in wires)
    return "#include <pcomp/kernel/wire_kernels.hpp>\n#include <pcomp/core.hpp>\nusing namespace pcomp;\n" \
           f"void use(const kernel::WireKernels&);\nvoid all() {{\n{lines}}}\n"


def compiled(compiler, source, flags):
    """(seconds of processor time, megabytes) of one run."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "unit.cpp"
        path.write_text(source)
        with open(f"{folder}/said", "w+") as said:
            words = [compiler, "-std=c++20", *flags, f"-I{ROOT}/include", "-c", str(path), "-o", f"{folder}/unit.o"]
            child = subprocess.Popen(words, stdout=said, stderr=said)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                said.seek(0)
                sys.exit(f"{compiler} could not compile\n{source}\n{said.read()}")
        return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def table(heading, units, yardstick):
    """Prints medians, and as multiples of the unit called `yardstick`; returns the seconds."""
    measured = {(name, c): [] for name, _, _ in units for c in compilers}
    for _ in range(args.runs):
        for name, source, flags in units:
            for c in compilers:
                measured[name, c].append(compiled(c, source, flags))
    print(f"\n{heading:50}" + "".join(f"{c:>30}" for c in compilers))
    medians = {key: [statistics.median(x) for x in zip(*runs)] for key, runs in measured.items()}
    for name, _, _ in units:
        cells = [f"{s:9.2f} s {mb:7.0f} MB {s / medians[yardstick, c][0]:7.2f}x"
                 for c in compilers for s, mb in [medians[name, c]]]
        print(f"{name:50}" + "".join(f"{cell:>30}" for cell in cells), flush=True)
    return {key: value[0] for key, value in medians.items()}


parser = argparse.ArgumentParser(prog="./dev bench compile", description=__doc__.splitlines()[0])
parser.add_argument("--runs", type=int, default=3, help="runs of each unit [3]")
parser.add_argument("--torch", metavar="DIR", help="a LibTorch [the one in .venv]")
parser.add_argument("compilers", nargs="*", metavar="COMPILER")
args = parser.parse_args()
compilers = args.compilers or [c for c in ("g++", "clang++", "clang++-14") if shutil.which(c)]
if "clang++" in compilers and "clang++-14" in compilers:
    compilers.remove("clang++-14")

empty = "an empty unit with <array>"
units = [(empty, "#include <array>\n", ["-O0"]), ("<pcomp/core.hpp>", CORE, ["-O0"])]
units += [(f"a table with its proof, {policy} {s}x{m}", TABLE.format(policy=policy, stages=s, micros=m), ["-O0"])
          for policy in ("OneFOneB", "ZeroBubble") for s, m in ((4, 8), (8, 32), (16, 64))]
table("without LibTorch", units, empty)
kernels = table("kernels, -O2", [("two wires", program(WIRES[:2]), ["-O2"]), ("three wires", program(WIRES), ["-O2"])],
                "two wires")
print(f"{'one more wire':50}" + "".join(
    f"{kernels['three wires', c] - kernels['two wires', c]:9.2f} s".rjust(30) for c in compilers))

torch = args.torch or next(iter(sorted(map(str, ROOT.glob(".venv/lib/python3.*/site-packages/torch")))), None)
if not torch:
    sys.exit("no LibTorch in .venv: ./dev setup installs it, or name one with --torch")
flags = ["-O2", "-DUSE_DISTRIBUTED", "-DUSE_C10D_GLOO", "-isystem", f"{torch}/include", "-isystem",
         f"{torch}/include/torch/csrc/api/include"]
first = (ROOT / "examples/050-first-program/main.cpp").read_text()
alone = "torch/torch.h alone"
table("with LibTorch, -O2", [
    (alone, "#include <torch/torch.h>\n", flags),
    ("<pcomp/pcomp.hpp>, header-only", "#include <pcomp/pcomp.hpp>\n", flags),
    ("<pcomp/pcomp.hpp>, pcomp::compiled", "#include <pcomp/pcomp.hpp>\n", [*flags, "-DPCOMP_COMPILED"]),
    ("the first program, header-only", first, flags),
    ("the first program, pcomp::compiled", first, [*flags, "-DPCOMP_COMPILED"]),
], alone)
