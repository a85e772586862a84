#!/usr/bin/env python3
"""plots.py RESULTS: every picture of the smoke study can be drawn, and a change of the results makes it stale."""
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "plot"))
import python  # noqa: E402

results = pathlib.Path(sys.argv[1])
if not (program := python.find(ROOT / "build")):
    print("skipped: no Python with matplotlib was found; ./dev plot installs one")
    sys.exit(77)


def plot(*words, code=0):
    done = subprocess.run([program, str(ROOT / "tools/plot/run.py"), "--recipe", "smoke", *words], capture_output=True, text=True)
    if done.returncode != code:
        sys.exit(f"{words}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done.stdout


with tempfile.TemporaryDirectory() as base:
    copy, document = pathlib.Path(base) / "results", pathlib.Path(base) / "study.md"
    copy.mkdir()
    for file in results.glob("*.csv"):
        (copy / file.name).write_text(file.read_text())
    names = ("families", "others", "board", "head", "narrow", "cuts", "advice", "frontier", "ladder", "gains", "published", "provenance")
    document.write_text("".join(f"<!-- table {name} -->\n<!-- end -->\n" for name in names))
    document.write_text(document.read_text() + "<!-- table families of seed -->\n<!-- end -->\n")
    where = ("--results", str(copy), "--out", base, "--document", str(document))
    text = plot(*where)
    for name in ("accuracy", "training"):
        if len(list(xml.parse(f"{base}/smoke-{name}.svg").getroot().iter())) < 100:
            sys.exit(f"{name}.svg: hardly anything is drawn")
        if not pathlib.Path(f"{base}/smoke-{name}.png").read_bytes().startswith(b"\x89PNG"):
            sys.exit(f"{name}.png is none")
    if "cuts: the results do not suffice" not in text:
        sys.exit(f"one cut is no study of cuts, but\n{text}")
    if "| `topk10-quant8` | 0.025 |" not in document.read_text():
        sys.exit(f"the table lacks a wire\n{document.read_text()}")
    if "| `edge` | `topk10-quant8` | 1/" not in document.read_text():
        sys.exit(f"what to send for few bytes is not told\n{document.read_text()}")
    if not document.read_text().endswith("of seed -->\nNo run is finished: `./dev study families`.\n<!-- end -->\n"):
        sys.exit(f"a table of another recipe has runs that it did not train\n{document.read_text()}")
    plot("--check", *where)
    # At a second cut, where raw did not run: it is held against raw at the first.
    for name in ("smoke", "smoke-epochs"):
        lines = (copy / f"{name}.csv").read_text().splitlines(keepends=True)
        moved = [line.replace("-edge-", "-cloud-").replace(",edge,", ",cloud,") for line in lines if line.startswith("topk10-quant8")]
        (copy / f"{name}.csv").write_text("".join([*lines, *moved]))
    plot(*where)
    if len(list(xml.parse(f"{base}/smoke-cuts.svg").getroot().iter())) < 100:
        sys.exit("cuts.svg: hardly anything is drawn")
    lost = {line.split("|")[6].strip() for line in document.read_text().splitlines() if line.startswith(("| `edge`", "| `cloud`"))}
    if len(lost) != 1 or lost == {""}:
        sys.exit(f"the same accuracy at two cuts is not as far from raw\n{document.read_text()}")
    # The same runs as if something had been added to their wire, at twice the epochs for one that must not be compared.
    for name in ("smoke", "smoke-epochs"):
        lines = (copy / f"{name}.csv").read_text().splitlines(keepends=True)
        added = [line.replace("topk10-quant8-edge", "ef-topk10-quant8-edge").replace(",topk10-quant8,edge", ",ef-topk10-quant8,edge")
                 for line in lines if line.startswith("topk10-quant8-edge")]
        longer = [line.replace("ef-topk10-quant8-edge", "ef21-topk10-quant8-edge").replace(",ef-topk10-quant8,edge,smoke,1,,",
                                                                                           ",ef21-topk10-quant8,edge,smoke,1,--epochs 4,")
                  for line in added if "-s1" in line]
        (copy / f"{name}.csv").write_text("".join([*lines, *added, *longer]))
    plot(*where)
    if len(list(xml.parse(f"{base}/smoke-ablations.svg").getroot().iter())) < 100:
        sys.exit("ablations.svg: hardly anything is drawn")
    gains = [line for line in document.read_text().splitlines() if line.startswith("| `topk10-quant8` |") and "`ef" in line]
    if len(gains) != 1 or "| error feedback | `ef-topk10-quant8` |" not in gains[0] or "| +0.00 ± 0.00 |" not in gains[0]:
        sys.exit(f"what feedback gains over the same accuracy is not nothing, or is not told alone\n{gains}")
    runs = copy / "smoke.csv"
    runs.write_text(runs.read_text().replace(",drawings,", ",sketches,"))
    said = plot("--check", *where, code=1)
    if "smoke-accuracy.svg" not in said or "smoke-ablations.png" not in said or "its tables" not in said:
        sys.exit(f"stale pictures or tables are not seen\n{said}")
print("pictures and tables of the smoke study")
