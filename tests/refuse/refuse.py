#!/usr/bin/env python3
"""refuse.py COMPILER FILE FLAGS...: case 0 of FILE compiles; every other case is refused with an error that says why.

A case is a block `#if CASE == n  // regex && another`. The regex must match the first error: on the error's own line
with g++; there or in the note under it with clang++, which puts the reason for a deleted function into the note. The
other regex, if there is one, may match anywhere in the compiler's output. With g++ there must be exactly one error.
FILE's first lines, its includes, are precompiled once for all cases.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

compiler, path, flags = sys.argv[1], sys.argv[2], sys.argv[3:]
clang = "clang" in subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
source = open(path).read()
cases = {int(n): reason for n, reason in re.findall(r"^#(?:el)?if CASE == (\d+) *// (.+)$", source, re.M)}
if not cases or sorted(cases) != list(range(1, len(cases) + 1)):
    sys.exit(f"{path}: cases must be numbered 1, 2, ... each with a regex, not {sorted(cases)}")

includes = re.match(r"(#include .*\n)*", source).group()
rest = source[len(includes):]


def compiled(*arguments):
    return subprocess.run([compiler, "-std=c++20", *flags, *arguments], capture_output=True, text=True,
                          env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"})


def check(case, unit, before):
    """What is wrong with the case, or None."""
    run = compiled("-fsyntax-only", f"-DCASE={case}", *before, unit)
    lines = run.stderr.splitlines()
    errors = [i for i, line in enumerate(lines) if re.search(r"\berror: ", line)]
    if case == 0:
        return f"case 0 must compile:\n{run.stderr}" if run.returncode else None
    if not run.returncode or not errors:
        return f"case {case} compiles, but must be refused with: {cases[case]}"
    said = lines[errors[0]]
    if clang:  # also the note that follows, with the source line that it shows
        note = next((i for i in range(errors[0], len(lines)) if "note: " in lines[i]), errors[0])
        said += "\n" + "\n".join(lines[note:note + 2])
    first, _, anywhere = cases[case].partition(" && ")
    if not re.search(first, said) or not re.search(anywhere, run.stderr):
        return f"case {case}: expected {cases[case]}\nbut the compiler said\n{run.stderr}"
    if len(errors) != 1 and not clang:
        return f"case {case}: one error expected, {len(errors)} came:\n{run.stderr}"
    return None


with tempfile.TemporaryDirectory() as folder:
    header, unit = pathlib.Path(folder, "includes.hpp"), pathlib.Path(folder, pathlib.Path(path).name)
    header.write_text(includes)
    unit.write_text(rest)
    flags.append(f"-I{pathlib.Path(path).resolve().parent}")
    built = f"{header}.{'pch' if clang else 'gch'}"
    run = compiled("-x", "c++-header", str(header), "-o", built)
    if run.returncode:
        sys.exit(f"the includes of {path} must compile:\n{run.stderr}")
    before = ["-include-pch", built] if clang else ["-include", str(header)]
    failed = [wrong for case in range(len(cases) + 1) if (wrong := check(case, str(unit), before))]
print(f"{len(cases)} refusals, {len(failed)} wrong")
sys.exit("\n".join(failed) if failed else 0)
