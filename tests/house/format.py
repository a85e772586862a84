#!/usr/bin/env python3
"""format.py CLANG_FORMAT [--check]: formats this project's C++ with clang-format 16, or only checks its format."""
import pathlib
import subprocess
import sys

program, check = sys.argv[1], "--check" in sys.argv
version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
if " 16." not in version:
    print(f"the layout is clang-format 16's; this is {version.strip()}")
    sys.exit(77)
root = pathlib.Path(__file__).resolve().parents[2]
files = sorted(str(f) for folder in ("include", "src", "examples", "apps", "tests", "bench")
               for end in ("*.hpp", "*.ipp", "*.cpp", "*.cuh", "*.cu") for f in (root / folder).rglob(end))
sys.exit(subprocess.run([program, *(["--dry-run", "--Werror"] if check else ["-i"]), *files]).returncode)
