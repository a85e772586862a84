#!/usr/bin/env python3
"""The kernels of every wire without memory, against memcpy of the same tensor, alternating in one run.

Each figure is the median over rounds of (memcpy, kernel), both with the same threads and on preallocated arrays. GB/s
counts what must move: the tensor once and the payload once. "moved" is what memcpy would have read and written in the
kernel's time, divided by what must move (for a gradient also the forward payload's index block): 1 at memcpy's speed.
"""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser(prog="./dev bench codecs", description=__doc__.splitlines()[0])
parser.add_argument("--wires", default="", metavar="NAME,...", help="some of the main job's wires [all]")
parser.add_argument("--sizes", default="12,18,24", metavar="N,...", help="exponents of two, 12 to 26 [12,18,24]")
parser.add_argument("--threads", default="1,2", metavar="N,...", help="numbers of threads [1,2]")
parser.add_argument("--isa", choices=["baseline", "avx2", "avx512"], help="instruction set [the machine's best]")
parser.add_argument("--relu", action="store_true", help="values after a ReLU, half of them zero [normal values]")
parser.add_argument("--csv", default="", metavar="FILE", help="also write the figures to FILE")
args = parser.parse_args()
for size in args.sizes.split(","):
    if not size.isdigit() or not 12 <= int(size) <= 26:
        parser.error(f"--sizes takes numbers from 12 to 26, not {size!r}")

build = pathlib.Path(os.environ.get("PCOMP_BUILD", "build/release"))
subprocess.run(["cmake", str(build)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # finds what was installed since
built = subprocess.run(["cmake", "--build", str(build), "--target", "bench-codecs"], cwd=ROOT,
                       capture_output=True, text=True)
if built.returncode:
    sys.exit(built.stdout + built.stderr + "\nbench codecs needs Google Benchmark (Debian: libbenchmark-dev) and OpenMP")
cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
print(f"{cpu}; {'ReLU of normal' if args.relu else 'normal'} values; {args.isa or 'best'} instruction set", flush=True)
isa = {"baseline": "0", "avx2": "1", "avx512": "2"}.get(args.isa, "")
sys.exit(subprocess.run([ROOT / build / "bench" / "codecs" / "bench-codecs", args.csv, isa, "01"[args.relu], args.wires,
                         args.sizes, args.threads], env={**os.environ, "OMP_WAIT_POLICY": "active"}).returncode)
