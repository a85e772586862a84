#!/usr/bin/env python3
"""Builds and runs bench/zero-bubble: does a split backward pay off on two ranks with four micro-batches?"""
import os
import subprocess
import sys

build = os.environ.get("PCOMP_BUILD", "build/release")
subprocess.run(["cmake", "--build", build, "--target", "bench-zero-bubble"], check=True, stdout=subprocess.DEVNULL)
sys.exit(subprocess.run([f"{build}/bench/bench-zero-bubble", *sys.argv[1:]]).returncode)
