#!/usr/bin/env python3
"""Channels-last and transposed tensors read and written in place, in turn with LibTorch's contiguous copy; --threads N."""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser(prog="./dev bench strided", description=__doc__)
parser.add_argument("--threads", type=int, default=1, metavar="N", help="number of threads [1]")
args = parser.parse_args()
build = pathlib.Path(os.environ.get("PCOMP_BUILD", "build/release"))
built = subprocess.run(["cmake", "--build", str(build), "--target", "bench-strided"], cwd=ROOT, capture_output=True, text=True)
if built.returncode:
    sys.exit(built.stdout + built.stderr)
sys.exit(subprocess.run([ROOT / build / "bench" / "bench-strided", str(args.threads)]).returncode)
