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


def stale(args, studies):
    """What does not show the results as they are, in words."""
    found = []
    text = document(args).read_text()
    if tables.fill(text, studies[0]) != text:
        found.append(f"{args.document}: its tables are not those of the results")
    for study in studies:
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
        print("\n".join(map(str, files)) if files else f"{study.recipe}, {name}: the results do not suffice for this picture yet")


def recipes(args):
    """The document's own first, then the others that have results."""
    if args.recipe:
        return [args.recipe]
    present = {file.stem for file in pathlib.Path(args.results).glob("*.csv") if not file.stem.endswith("-epochs")}
    return ["quick", *sorted(present - {"quick"})]


def main():
    parser = argparse.ArgumentParser(prog="./dev plot", description=__doc__)
    parser.add_argument("--recipe", metavar="NAME", help="whose results [all that there are; quick's in tables that name none]")
    parser.add_argument("--results", default=str(ROOT / "docs/study/results"), metavar="DIR", help="[docs/study/results]")
    parser.add_argument("--out", default=str(ROOT / "docs/study"), metavar="DIR", help="of the pictures [docs/study]")
    parser.add_argument("--document", default=str(ROOT / "docs/study.md"), metavar="FILE", help="with the tables [docs/study.md]; "
                        "'' for none")
    parser.add_argument("--tables", action="store_true", help="the tables alone: no matplotlib is needed")
    parser.add_argument("--check", action="store_true", help="draw nothing: say what is stale, and end with 1 if anything is")
    args = parser.parse_args()
    names = recipes(args)
    if not (pathlib.Path(args.results) / f"{names[0]}.csv").exists():
        sys.exit(f"plot: {args.results} has no {names[0]}.csv: ./dev study makes it")
    studies = [groups.Study(args.results, name) for name in names]
    if args.check:
        found = stale(args, studies)
        print("\n".join([*found, AGAIN]) if found else "tables and pictures show the results as they are")
        return bool(found)
    build = ROOT / "build"
    if not args.tables:
        program = python.find(build) or python.install(build)
        if os.path.abspath(program) != os.path.abspath(sys.executable):
            return subprocess.run([program, __file__, *sys.argv[1:]]).returncode
        for study in studies:
            draw(args, study)
    if args.document:
        text = document(args).read_text()
        document(args).write_text(tables.fill(text, studies[0]))
        print(f"{args.document}: tables")
    return 0


try:
    sys.exit(main())
except (ValueError, OSError) as error:
    sys.exit(f"plot: {error}")
