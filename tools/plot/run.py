#!/usr/bin/env python3
"""Draws the pictures of docs/study.md from the results of ./dev study and fills in its tables."""
import argparse
import hashlib
import os
import pathlib
import subprocess
import sys

import groups
import python
import tables

ROOT = groups.ROOT
AGAIN = "make them again: ./dev plot"


def digest(study):
    """Of all that a picture is drawn from: kept in the picture, so that a stale one is found without drawing."""
    text = repr((study.recipe, study.runs, study.epochs, study.published))
    return "pcomp results " + hashlib.sha256(text.encode()).hexdigest()[:16]


def document(args):
    return pathlib.Path(args.document)


def stale(args, study):
    """What does not show the results as they are, in words."""
    found = []
    text = document(args).read_text()
    if tables.fill(text, study) != text:
        found.append(f"{args.document}: its tables are not those of the results")
    for file in sorted(pathlib.Path(args.out).glob(f"{study.recipe}-*")):
        if file.suffix in (".svg", ".png") and digest(study).encode() not in file.read_bytes():
            found.append(f"{file}: is not drawn from the results as they are")
    for name in groups.re.findall(r"\]\((study/[^)]+\.(?:svg|png))\)", text):
        if not (document(args).parent / name).exists():
            found.append(f"{args.document}: there is no {name}")
    return found


def draw(args, study):
    import pictures  # needs matplotlib
    folder = pathlib.Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in pictures.PICTURES:
        files = pictures.draw(name, study, folder, digest(study))
        print("\n".join(map(str, files)) if files else f"{name}: the results do not suffice for this picture yet")


def main():
    parser = argparse.ArgumentParser(prog="./dev plot", description=__doc__)
    parser.add_argument("--recipe", default="quick", metavar="NAME", help="whose results [quick]")
    parser.add_argument("--results", default=str(ROOT / "docs/study/results"), metavar="DIR", help="[docs/study/results]")
    parser.add_argument("--out", default=str(ROOT / "docs/study"), metavar="DIR", help="of the pictures [docs/study]")
    parser.add_argument("--document", default=str(ROOT / "docs/study.md"), metavar="FILE", help="with the tables [docs/study.md]; "
                        "'' for none")
    parser.add_argument("--tables", action="store_true", help="the tables alone: no matplotlib is needed")
    parser.add_argument("--check", action="store_true", help="draw nothing: say what is stale, and end with 1 if anything is")
    args = parser.parse_args()
    if not (pathlib.Path(args.results) / f"{args.recipe}.csv").exists():
        sys.exit(f"plot: {args.results} has no {args.recipe}.csv: ./dev study makes it")
    study = groups.Study(args.results, args.recipe)
    if args.check:
        found = stale(args, study)
        print("\n".join([*found, AGAIN]) if found else "tables and pictures show the results as they are")
        return bool(found)
    build = ROOT / "build"
    if not args.tables:
        program = python.find(build) or python.install(build)
        if os.path.abspath(program) != os.path.abspath(sys.executable):
            return subprocess.run([program, __file__, *sys.argv[1:]]).returncode
        draw(args, study)
    if args.document:
        text = document(args).read_text()
        document(args).write_text(tables.fill(text, study))
        print(f"{args.document}: tables")
    return 0


try:
    sys.exit(main())
except (ValueError, OSError) as error:
    sys.exit(f"plot: {error}")
