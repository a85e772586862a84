#!/usr/bin/env python3
"""fast_math.py INCLUDE COMPILER [FLAG...]: a compiler that may change arithmetic gets one error that says what to do."""
import subprocess
import sys
import tempfile

include, compiler, flags = sys.argv[1], sys.argv[2], sys.argv[3:]
clang = "clang" in subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
refused = ["-ffast-math", "-Ofast", "-O3 -ffast-math", "-ffinite-math-only"]
if not clang:  # Clang defines no macro for these
    refused += ["-funsafe-math-optimizations", "-fno-signed-zeros", "-freciprocal-math",
                "-fassociative-math -fno-signed-zeros -fno-trapping-math"]
taken = ["-O3", "-Ofast -fno-fast-math", "-ffast-math -fno-fast-math", "-fno-math-errno", "-ffp-contract=fast"]
failed = []


def errors(header, options):
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as unit:
        unit.write(f"#include <pcomp/{header}>\nint main() {{}}\n")
        unit.flush()
        done = subprocess.run([compiler, "-std=c++20", f"-I{include}", *flags, *options.split(), "-fsyntax-only", unit.name],
                              capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
        return done.returncode, [line for line in done.stderr.splitlines() if "error:" in line]


for header, options in [("core.hpp", o) for o in refused] + [("cpu.hpp", "-Ofast")]:
    code, lines = errors(header, options)
    if code == 0 or len(lines) != 1 or "IEEE arithmetic" not in lines[0] or "-O3" not in lines[0]:
        failed.append(f"{header} with {options}: {len(lines)} errors, exit code {code}: {lines[:2]}")
for options in taken:
    code, lines = errors("core.hpp", options)
    if code or lines:
        failed.append(f"core.hpp with {options}: {lines[:2]}")
print("\n".join(failed) or f"{len(refused) + 1} refused, {len(taken)} taken")
sys.exit(bool(failed))
