#!/usr/bin/env python3
"""reject.py COMPILER FILE FLAGS...: case 0 of FILE compiles; every other case is refused with an error that says why.

A case is a block `#if CASE == n  // regex && another`. The regex must match the first error: on the error's own line
with g++; there or in the note under it with clang++, which puts the reason for a deleted function into the note. The
other regex, if there is one, may match anywhere in the compiler's output. With g++ there must be exactly one error.
"""
import re
import subprocess
import sys

compiler, path, flags = sys.argv[1], sys.argv[2], sys.argv[3:]
clang = "clang" in subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
source = open(path).read()
cases = {int(n): reason for n, reason in re.findall(r"^#(?:el)?if CASE == (\d+) *// (.+)$", source, re.M)}
if not cases or sorted(cases) != list(range(1, len(cases) + 1)):
    sys.exit(f"{path}: cases must be numbered 1, 2, ... each with a regex, not {sorted(cases)}")

failed = []
for case in range(len(cases) + 1):
    run = subprocess.run([compiler, "-std=c++20", "-fsyntax-only", f"-DCASE={case}", *flags, path],
                         capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"})
    lines = run.stderr.splitlines()
    errors = [i for i, line in enumerate(lines) if re.search(r"\berror: ", line)]
    if case == 0:
        if run.returncode:
            failed.append(f"case 0 must compile:\n{run.stderr}")
        continue
    if not run.returncode or not errors:
        failed.append(f"case {case} compiles, but must be refused with: {cases[case]}")
        continue
    said = lines[errors[0]]
    if clang:  # also the note that follows, with the source line that it shows
        note = next((i for i in range(errors[0], len(lines)) if "note: " in lines[i]), errors[0])
        said += "\n" + "\n".join(lines[note:note + 2])
    first, _, anywhere = cases[case].partition(" && ")
    if not re.search(first, said) or not re.search(anywhere, run.stderr):
        failed.append(f"case {case}: expected {cases[case]}\nbut the compiler said\n{run.stderr}")
    if len(errors) != 1 and not clang:
        failed.append(f"case {case}: one error expected, {len(errors)} came:\n{run.stderr}")
print(f"{len(cases)} refusals, {len(failed)} wrong")
sys.exit("\n".join(failed) if failed else 0)
