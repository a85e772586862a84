#!/usr/bin/env python3
"""Makes stand-ins for the CUDA libraries that PyTorch's wheel is linked to and that are not here, so that a test on a
CPU can import torch without 3 GB of them. They hold the names that torch looks up when it is loaded; whoever calls one
of them ends the process.

Usage: stand_ins.py TORCH FOLDER: the installed package, and where the libraries go (for LD_LIBRARY_PATH). Prints how
many were made. Needs cc and binutils."""
import pathlib
import re
import subprocess
import sys
import tempfile


def said(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def needed(library):
    return re.findall(r"\(NEEDED\).*\[(.+)\]", said("readelf", "-dW", str(library)))


def versions(library):
    """{version: the library that has it}, of what a library needs."""
    found, file = {}, None
    for line in said("readelf", "-VW", str(library)).splitlines():
        if match := re.search(r"Version: 1  File: (\S+)  Cnt", line):
            file = match[1]
        elif file and (match := re.search(r"Name: (\S+)  Flags", line)):
            found[match[1]] = file
    return found


def undefined(library):
    """(name, version or None) of what is looked up in other libraries; weak ones may be missing."""
    for line in said("nm", "-D", "--undefined-only", str(library)).splitlines():
        kind, name = line.split()[-2:]
        if kind == "U":
            name, _, version = name.partition("@")
            yield name, version.lstrip("@") or None


def defined(library):
    return {line.split()[-1].partition("@")[0] for line in said("nm", "-D", "--defined-only", str(library)).splitlines()}


def main(torch, folder):
    libraries = sorted((torch / "lib").glob("*.so*"))
    installed = dict(re.findall(r"^\s*(\S+) \(.*64.*\) => (\S+)", said("/sbin/ldconfig", "-p"), re.M))
    installed |= {file.name: str(file) for file in (torch.parent / "nvidia").rglob("*.so*")}  # of other wheels
    wanted = {n for l in libraries for n in needed(l)} - {l.name for l in libraries}
    missing = sorted(wanted - set(installed))
    if not missing:
        print("nothing is missing")
        return
    there = set().union(*map(defined, [*libraries, *(installed[n] for n in wanted & set(installed))]))
    symbols = {name: {} for name in missing}  # {version: names}
    for library in libraries:
        here = [n for n in needed(library) if n in symbols]
        if not here:
            continue
        of_version = versions(library)
        for name, version in undefined(library):
            if of_version.get(version) in symbols:
                symbols[of_version[version]].setdefault(version, set()).add(name)
            elif version is None and name not in there:
                symbols[here[0]].setdefault(None, set()).add(name)  # any of them will do
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        source, script = pathlib.Path(work, "all.c"), pathlib.Path(work, "versions")
        for name, of_version in symbols.items():
            names = sorted(set().union(*of_version.values()))
            source.write_text("".join(f"void {f}(void) {{ __builtin_trap(); }}\n" for f in names))
            of_version.pop(None, None)
            script.write_text("".join(f"{v} {{ global: {'; '.join(sorted(n))}; }};\n" for v, n in sorted(of_version.items())))
            subprocess.run(["cc", "-w", "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{name}",
                            *([f"-Wl,--version-script={script}"] if of_version else []), "-o", str(folder / name),
                            str(source)], check=True)
    print(f"{len(missing)} stand-ins in {folder}: {' '.join(missing)}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
