#!/usr/bin/env python3
"""A build without -march against one with -march=native, alternating in one run: medians of main wires' kernels."""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
argparse.ArgumentParser(prog="./dev bench march", description=__doc__).parse_args()
build = pathlib.Path(os.environ.get("PCOMP_BUILD", "build/release"))
built = subprocess.run(["cmake", "--build", str(build), "--target", "bench-march"], cwd=ROOT, capture_output=True, text=True)
if built.returncode:
    sys.exit(built.stdout + built.stderr)
sys.exit(subprocess.run([ROOT / build / "bench" / "march" / "bench-march"]).returncode)
