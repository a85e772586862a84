#!/usr/bin/env python3
"""Instructions per element of the main wires' kernels, counted by valgrind: AVX2, one thread, 2^18 floats.

ceilings.txt says what each may take by arithmetic; bounds.txt holds what it took, by compiler. A test checks both. After an
intended change: ./dev bench instructions --update, which writes no count above its ceiling.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BOUNDS = HERE / "bounds.txt"
CEILINGS = HERE / "ceilings.txt"
HEADER = "# compiler; wire; job; instructions per element. Written by ./dev bench instructions --update\n"
ELEMENTS, TOLERANCE = 1 << 18, 0.05

parser = argparse.ArgumentParser(prog="./dev bench instructions", description=__doc__.splitlines()[0])
parser.add_argument("--update", action="store_true", help="write the counts to bounds.txt")
parser.add_argument("--check", metavar="PROGRAM", help="what the test does: check PROGRAM, build nothing")
args = parser.parse_args()

if not shutil.which("valgrind"):
    print("skipped: valgrind (a Debian package) counts instructions, and is not here")
    sys.exit(77 if args.check else 1)


def built():
    build = pathlib.Path(os.environ.get("PCOMP_BUILD", "build/release"))
    done = subprocess.run(["cmake", "--build", str(build), "--target", "bench-instructions"], cwd=ROOT,
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return ROOT / build / "bench" / "instructions" / "bench-instructions"


def counts(program):
    """The compiler, and {(wire, job): instructions per element}."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                               "--toggle-collect=counted", "--dump-after=counted", str(program)],
                              capture_output=True, text=True)
        if done.returncode == 77:
            print(done.stderr)
            sys.exit(77)
        if done.returncode:
            sys.exit(f"{program} under valgrind: {done.stdout}{done.stderr}")
        compiler, *jobs = done.stdout.splitlines()
        found = {}
        for i, job in enumerate(jobs, 1):  # one dump per call
            total = re.search(r"^summary: (\d+)$", pathlib.Path(f"{folder}/out.{i}").read_text(), re.M)
            found[tuple(job.split())] = int(total[1]) / ELEMENTS
        return compiler, found


def bounds():
    """{compiler: {(wire, job): instructions per element}}"""
    table = {}
    for line in BOUNDS.read_text().splitlines() if BOUNDS.exists() else []:
        if not line.startswith("#"):
            compiler, wire, job, count = line.split("; ")
            table.setdefault(compiler, {})[wire, job] = float(count)
    return table


def ceilings():
    """{(wire, job): instructions per element}"""
    lines = [line.split("; ") for line in CEILINGS.read_text().splitlines() if line and not line.startswith("#")]
    return {(wire, job): float(count) for wire, job, count in lines}


compiler, now = counts(args.check or built())
table, most = bounds(), ceilings()
if args.update:
    too_many = [f"{wire} {job}: {count:.3f} above {most[wire, job]}" for (wire, job), count in now.items()
                if count > most[wire, job]]
    if too_many:
        sys.exit("not written, as ceilings.txt allows less: " + ", ".join(too_many))
    table[compiler] = now
    BOUNDS.write_text(HEADER + "".join(f"{c}; {wire}; {job}; {count:.3f}\n" for c in sorted(table)
                                       for (wire, job), count in table[c].items()))
elif args.check and compiler not in table:
    print(f"skipped: bounds.txt has counts of {', '.join(sorted(table))}, and this was compiled by {compiler}")
    sys.exit(77)

before = table.get(compiler, {})
print(f"{compiler}, AVX2, one thread, 2^18 floats\n{'wire':15}{'job':13}{'per element':>12}{'bound':>9}{'ceiling':>9}")
above = 0
for (wire, job), count in now.items():
    bound = before.get((wire, job))
    note = "no bound: --update writes it"
    if bound is not None:
        over = count / bound - 1
        above += over > TOLERANCE
        note = (f"{over:+.0%}: more than the bound and {TOLERANCE:.0%}" if over > TOLERANCE else
                f"{over:+.0%}: ./dev bench instructions --update lowers the bound" if over < -TOLERANCE else "")
    elif args.check:
        above += 1
    if count > most[wire, job]:
        above += 1
        note = f"above the ceiling of {most[wire, job]}"
    shown = " " * 9 if bound is None else f"{bound:9.3f}"
    print(f"{wire:15}{job:13}{count:12.3f}{shown}{most[wire, job]:9.2f}  {note}".rstrip())
sys.exit(f"{above} above bounds.txt or ceilings.txt; if that is meant: ./dev bench instructions --update" if above else 0)
