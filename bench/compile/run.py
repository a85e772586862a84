#!/usr/bin/env python3
"""What pcomp costs to compile: seconds of processor time, best of three, for each compiler found.

Usage: run.py [--runs N] [COMPILER...]; by default g++ and clang++.
"""
import argparse
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

CORE = "#include <pcomp/core.hpp>\nusing namespace pcomp;\n"
TABLE = CORE + "using Plan = Schedule<{policy}, {stages}, {micros}>;\n" \
               "static_assert(Plan::deadlock_free && Plan::ticks > 0 && Plan::peak_live[0] > 0);\n"
WIRES = ["Downsample<2> | TopK<Ratio<1, 10>> | Quant<8>", "Quant<4>", "TopK<Ratio<1, 20>> | Quant<4>"]


def program(wires):
    lines = "".join(f"  use(wire_kernels({w}));\n" for w in wires)
    return "#include <pcomp/kernel/wire_kernels.hpp>\n#include <pcomp/core.hpp>\nusing namespace pcomp;\n" \
           f"void use(const BoundaryOps&);\nvoid all() {{\n{lines}}}\n"


def seconds(compiler, source, optimise, runs):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "unit.cpp"
        path.write_text(source)
        best = None
        for _ in range(runs):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([compiler, "-std=c++20", optimise, f"-I{ROOT}/include", "-c", str(path), "-o",
                                   f"{folder}/unit.o"], capture_output=True, text=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if done.returncode:
                sys.exit(f"{compiler} could not compile\n{source}\n{done.stderr}")
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            best = used if best is None else min(best, used)
        return best


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--runs", type=int, default=3)
parser.add_argument("compilers", nargs="*", metavar="COMPILER")
args = parser.parse_args()
compilers = args.compilers or [c for c in ("g++", "clang++", "clang++-14") if shutil.which(c)]
if "clang++" in compilers and "clang++-14" in compilers:
    compilers.remove("clang++-14")

units = [("an empty unit with <array>", "#include <array>\n"), ("<pcomp/core.hpp>", CORE)]
units += [(f"a table with its proof, {policy} {s}x{m}", TABLE.format(policy=policy, stages=s, micros=m))
          for policy in ("OneFOneB", "ZeroBubble") for s, m in ((4, 8), (8, 32), (16, 64))]
print(f"{'seconds of processor time, best of ' + str(args.runs):44}" + "".join(f"{c:>12}" for c in compilers))
for name, source in units:
    print(f"{name:44}" + "".join(f"{seconds(c, source, '-O0', args.runs):12.2f}" for c in compilers), flush=True)
two = [seconds(c, program(WIRES[:2]), "-O2", args.runs) for c in compilers]
three = [seconds(c, program(WIRES), "-O2", args.runs) for c in compilers]
print(f"{'a program with two wires, -O2':44}" + "".join(f"{t:12.2f}" for t in two))
print(f"{'one more wire in it, -O2':44}" + "".join(f"{b - a:12.2f}" for a, b in zip(two, three)))
