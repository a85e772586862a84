#!/usr/bin/env python3
"""plots.py RESULTS: every picture of the smoke study can be drawn, and a change in the results makes it stale."""
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "study"), str(ROOT / "study" / "plot")]
import python  # noqa: E402

python.use()
import groups  # noqa: E402

program, results = sys.executable, pathlib.Path(sys.argv[1])


def plot(*words, code=0, recipe="smoke", environment=None, limit=100):
    done = subprocess.run([program, str(ROOT / "study/plot/run.py"), "--recipe", recipe, *words], capture_output=True, text=True,
                          env={**os.environ, **(environment or {})}, timeout=limit)
    if done.returncode != code:
        sys.exit(f"{words}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def changed(folder, name, change):
    """Rewrites a CSV: its heading stays, and `change` turns the other lines into new ones."""
    head, *lines = (folder / f"{name}.csv").read_text().splitlines(keepends=True)
    (folder / f"{name}.csv").write_text(head + "".join(change(lines)))


with tempfile.TemporaryDirectory() as base:
    copy, document = pathlib.Path(base) / "results", pathlib.Path(base) / "study.md"
    copy.mkdir()
    for file in results.glob("*.csv"):
        (copy / file.name).write_text(file.read_text())
    names = ("families", "others", "board", "head", "narrow", "cuts", "advice", "frontier", "ladder", "gains", "published", "provenance")
    document.write_text("".join(f"<!-- table {name} -->\n<!-- end -->\n" for name in names))
    document.write_text(document.read_text() + "<!-- table families of seed -->\n<!-- end -->\n")
    where = ("--results", str(copy), "--out", base, "--document", str(document))
    # The chosen Python may be a script, and may be given by its name alone; each drawing starts it once.
    (pathlib.Path(base) / "bin").mkdir()
    script = pathlib.Path(base) / "bin" / "plot-python"
    script.write_text(f'#!/bin/sh\necho "$@" >>{base}/asked\nexec {program} "$@"\n')
    script.chmod(0o755)
    by_name = {"PCOMP_PLOT_PYTHON": "plot-python", "PATH": f"{base}/bin:{os.environ['PATH']}"}
    text = plot(*where, environment={"PCOMP_PLOT_PYTHON": str(script)})
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
    plot("--check", *where[:4], "--document", "")
    # In docs/study.md, tables that name no recipe are quick's, whatever recipe is drawn.
    plot("--check", recipe="seed")
    said = plot("--check", *where[:4], code=1)
    if "has no quick.csv" not in said or "name another --document" not in said:
        sys.exit(f"docs/study.md would get the tables of another study\n{said}")
    # Runs at a second cut, where raw did not run, are compared with raw at the first.
    for name in ("smoke", "smoke-epochs"):
        lines = (copy / f"{name}.csv").read_text().splitlines(keepends=True)
        moved = [line.replace("-edge-", "-cloud-").replace(",edge,", ",cloud,") for line in lines if line.startswith("topk10-quant8")]
        (copy / f"{name}.csv").write_text("".join([*lines, *moved]))
    plot(*where, environment=by_name)
    asked = [line for line in pathlib.Path(f"{base}/asked").read_text().splitlines() if "run.py" in line]
    if len(asked) != 2:
        sys.exit(f"what is to draw was started {len(asked)} times, not twice")
    if len(list(xml.parse(f"{base}/smoke-cuts.svg").getroot().iter())) < 100:
        sys.exit("cuts.svg: hardly anything is drawn")
    lost = {line.split("|")[6].strip() for line in document.read_text().splitlines() if line.startswith(("| `edge`", "| `cloud`"))}
    if len(lost) != 1 or lost == {""}:
        sys.exit(f"the same accuracy at two cuts is not as far from raw\n{document.read_text()}")
    # The same runs as if something had been added to their wire; one more, at twice the epochs, must not be compared.
    for name in ("smoke", "smoke-epochs"):
        lines = (copy / f"{name}.csv").read_text().splitlines(keepends=True)
        added = [line.replace("topk10-quant8-edge", "ef-topk10-quant8-edge").replace(",topk10-quant8,edge", ",ef-topk10-quant8,edge")
                 for line in lines if line.startswith("topk10-quant8-edge")]
        longer = [line.replace("ef-topk10-quant8-edge", "ef21-topk10-quant8-edge").replace(",ef-topk10-quant8,edge,smoke,1,,",
                                                                                           ",ef21-topk10-quant8,edge,smoke,1,--epochs 4,")
                  for line in added if "-s1" in line]
        (copy / f"{name}.csv").write_text("".join([*lines, *added, *longer]))
    # A run whose epochs were lost is drawn without them; if all were lost, there is no picture of them.
    lost = "topk10-quant8-edge-smoke-s1,"
    changed(copy, "smoke-epochs", lambda lines: [line for line in lines if not line.startswith(lost)])
    plot(*where)
    drawn = ("import sys; sys.path[:0] = sys.argv[1:2]; import groups, training; study = groups.Study(*sys.argv[2:]); "
             "study.epochs = study.epochs[:0]; sys.exit(training.draw(study) is not None)")
    if subprocess.run([program, "-c", drawn, str(ROOT / "study" / "plot"), str(copy), "smoke"]).returncode:
        sys.exit("training: no epochs are drawn, or nothing is said of them")
    if len(list(xml.parse(f"{base}/smoke-ablations.svg").getroot().iter())) < 100:
        sys.exit("ablations.svg: hardly anything is drawn")
    gains = [line for line in document.read_text().splitlines() if line.startswith("| `topk10-quant8` |") and "`ef" in line]
    if len(gains) != 1 or "| error feedback | `ef-topk10-quant8` |" not in gains[0] or "| +0.00 ± 0.00 |" not in gains[0]:
        sys.exit(f"what feedback gains over the same accuracy is not nothing, or is not told alone\n{gains}")
    # The same options are one setting, however they are spelled, and are compared with raw under the same options.
    other = pathlib.Path(base) / "spelled"
    other.mkdir()
    for file in results.glob("*.csv"):
        (other / file.name).write_text(file.read_text())
    spelled = {"-s1,": "--lr 0.2 --epochs 2", "-s2,": "--epochs=2 --lr 2e-1"}
    changed(other, "smoke", lambda lines: [*lines, *(
        line.replace("smoke-s", "smoke-x-s", 1).replace(f",smoke,{seed[2]},,", f",smoke,{seed[2]},{options},")
        for line in lines for seed, options in spelled.items() if seed in line)])
    study = groups.Study(other, "smoke")
    found = [(g.wire, len(g.rows), study.beside(g) is not None and len(study.beside(g).rows)) for g in study.groups if g.options]
    if sorted(found) != [("raw", 2, 2), ("topk10-quant8", 2, 2)]:
        sys.exit(f"options in another spelling are other settings: {found}")
    # Runs on drawings beside runs on CIFAR-10 are refused.
    changed(other, "smoke", lambda lines: [lines[0].replace(",drawings,", ",CIFAR-10,"), *lines[1:]])
    said = plot("--results", str(other), *where[2:], code=1)
    if "expected runs on the same images, got CIFAR-10 and drawings" not in said or "Traceback" in said:
        sys.exit(f"drawings are drawn beside CIFAR-10\n{said}")
    runs = copy / "smoke.csv"
    runs.write_text(runs.read_text().replace(",drawings,", ",sketches,"))
    said = plot("--check", *where, code=1)
    if "smoke-accuracy.svg" not in said or "smoke-ablations.png" not in said or "its tables" not in said:
        sys.exit(f"stale pictures or tables are not seen\n{said}")
print("pictures and tables of the smoke study")
