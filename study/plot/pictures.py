"""The pictures of docs/study.md, one module for each, and whether they and its tables are those of the results."""
import pathlib
import re

import matplotlib.pyplot as plt

import ablations
import accuracy
import cuts
import tables
import training
from groups import ROOT, Study

PICTURES = {"accuracy": accuracy.draw, "training": training.draw, "cuts": cuts.draw, "ablations": ablations.draw}


def draw(study, folder):
    """Writes RECIPE-NAME.svg and .png for each picture that the results suffice for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        if (figure := picture(study)) is None:
            print(f"{study.recipe}, {name}: the results do not suffice for this picture yet")
            continue
        file = folder / f"{study.recipe}-{name}.svg"
        figure.savefig(file, metadata={"Date": None, "Description": study.digest})
        figure.savefig(file.with_suffix(".png"), dpi=110, metadata={"Description": study.digest})
        plt.close(figure)
        print(f"{file}\n{file.with_suffix('.png')}")


def stale(document, folder, studies, main_study):
    """Messages about tables and pictures that do not match the results."""
    found = []
    text = document.read_text() if document else ""
    if tables.fill(text, main_study) != text:
        found.append(f"{document}: its tables are not those of the results")
    for study in studies:
        for file in sorted(folder.glob(f"{study.recipe}-*")):
            if file.suffix in (".svg", ".png") and study.digest.encode() not in file.read_bytes():
                found.append(f"{file}: is not drawn from the results as they are")
    for name in re.findall(r"\]\((study/[^)]+\.(?:svg|png))\)", text):
        if not (document.parent / name).exists():
            found.append(f"{document}: there is no {name}")
    return found


def act(args):
    present = {file.stem for file in args.results.glob("*.csv") if not file.stem.endswith("-epochs")}
    names = [args.recipe] if args.recipe else ["quick", *sorted(present - {"quick"})]
    main_name = "quick" if args.document is None else names[0]
    for name in (names[0], main_name):
        if name not in present:
            raise ValueError(f"{args.results} has no {name}.csv: ./dev study makes it" + (
                "" if name == names[0] else ", and docs/study.md needs it: name another --document, or '' for none"))
    document = ROOT / "docs/study.md" if args.document is None else pathlib.Path(args.document) if args.document else None
    studies, main_study = [Study(args.results, name) for name in names], Study(args.results, main_name)
    if args.check:
        found = stale(document, args.out, studies, main_study)
        print("\n".join([*found, "make them again: ./dev plot"]) if found else
              "tables and pictures show the results as they are")
        return bool(found)
    if not args.tables:
        for study in studies:
            draw(study, args.out)
    if document:
        document.write_text(tables.fill(document.read_text(), main_study))
        print(f"{document}: tables")
    return 0
