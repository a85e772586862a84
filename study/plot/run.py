#!/usr/bin/env python3
"""Draws the pictures of docs/study.md from the results of ./dev study and fills in its tables."""
import argparse
import hashlib
import pathlib
import subprocess
import sys

import groups
import python
import tables

ROOT = groups.ROOT
AGAIN = "make them again: ./dev plot"


def digest(study):
    """Covers all that a picture is drawn from; stored in the picture, so that a stale one is found without drawing."""
    text = repr((study.recipe, study.runs, study.epochs, study.published))
    return "pcomp results " + hashlib.sha256(text.encode()).hexdigest()[:16]


def stale(args, studies, main_study):
    """Messages about tables and pictures that do not match the results."""
    found = []
    text = pathlib.Path(args.document).read_text() if args.document else ""
    if tables.fill(text, main_study) != text:
        found.append(f"{args.document}: its tables are not those of the results")
    for study in studies:
        for file in sorted(pathlib.Path(args.out).glob(f"{study.recipe}-*")):
            if file.suffix in (".svg", ".png") and digest(study).encode() not in file.read_bytes():
                found.append(f"{file}: is not drawn from the results as they are")
    for name in groups.re.findall(r"\]\((study/[^)]+\.(?:svg|png))\)", text):
        if not (pathlib.Path(args.document).parent / name).exists():
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
    """The document's own recipe first, then the others that have results."""
    if args.recipe:
        return [args.recipe]
    present = {file.stem for file in pathlib.Path(args.results).glob("*.csv") if not file.stem.endswith("-epochs")}
    return ["quick", *sorted(present - {"quick"})]


def main():
    parser = argparse.ArgumentParser(prog="./dev plot", description=__doc__)
    parser.add_argument("--recipe", metavar="NAME", help="recipe whose results to use [all that there are]")
    parser.add_argument("--results", default=str(ROOT / "docs/study/results"), metavar="DIR",
                        help="folder of the CSV files [docs/study/results]")
    parser.add_argument("--out", default=str(ROOT / "docs/study"), metavar="DIR",
                        help="folder for the pictures [docs/study]")
    parser.add_argument("--document", metavar="FILE", help="document with the tables; those that name no recipe show "
                        "--recipe's results [docs/study.md, showing quick's]; '' for none")
    parser.add_argument("--tables", action="store_true", help="only fill in the tables, which needs no matplotlib")
    parser.add_argument("--check", action="store_true", help="draw nothing: report what is stale, and exit with 1 if "
                        "anything is")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # this Python was chosen to draw
    args = parser.parse_args()
    names = recipes(args)
    main_name = names[0] if args.document is not None else "quick"
    if args.document is None:
        args.document = str(ROOT / "docs/study.md")
    for name in (names[0], main_name):
        if not (pathlib.Path(args.results) / f"{name}.csv").exists():
            sys.exit(f"plot: {args.results} has no {name}.csv: ./dev study makes it" +
                     ("" if name == names[0] else ", and docs/study.md needs it: name another --document, or '' for none"))
    studies = [groups.Study(args.results, name) for name in names]
    main_study = studies[0] if main_name == names[0] else groups.Study(args.results, main_name)
    if args.check:
        found = stale(args, studies, main_study)
        print("\n".join([*found, AGAIN]) if found else "tables and pictures show the results as they are")
        return bool(found)
    build = ROOT / "build"
    if not args.tables:
        if not args.here:
            program = python.find(build) or python.install(build)
            return subprocess.run([program, __file__, "--here", *sys.argv[1:]]).returncode
        for study in studies:
            draw(args, study)
    if args.document:
        document = pathlib.Path(args.document)
        document.write_text(tables.fill(document.read_text(), main_study))
        print(f"{args.document}: tables")
    return 0


try:
    sys.exit(main())
except (ValueError, OSError) as error:
    sys.exit(f"plot: {error}")
