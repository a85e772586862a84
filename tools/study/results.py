"""What finished runs came to: one CSV with a line a run, one with a line an epoch, of each recipe."""
import csv
import fcntl
import io
import json
import pathlib
import re
import shutil
import statistics

from lists import Job
from rates import nominal
from runs import Run, write_whole

RUNS = ["run", "wire", "cut", "recipe", "seed", "options", "codec", "nominal_forward", "nominal_gradient",
        "forward_bits", "gradient_bits", "forward_bytes_per_image", "gradient_bytes_per_image", "raw_bytes_per_image",
        "accuracy", "best_accuracy", "epochs", "images", "train_images", "test_images", "data", "threads", "at_once",
        "hardware", "seconds", "peak_mb", "version", "commit"]
METRICS = ["epoch", "loss", "accuracy", "lr", "seconds", "images_per_second", "forward_bytes", "gradient_bytes"]


class NotImportable(Exception):
    pass


def short(x):
    return f"{x:.6g}"


def row(job, told, notes):
    """One line of the runs' CSV. The bytes are those of the boundaries that carry the chosen wire, in training."""
    boundaries = [b for b in told["boundaries"] if b["compressed"]]
    images = told["images"]

    def total(direction, what):
        return sum(b[direction][what] for b in boundaries)

    rates = nominal(boundaries[0]["wire"])
    return {
        "run": job.name, "wire": job.wire, "cut": job.cut, "recipe": job.recipe, "seed": str(job.seed),
        "options": " ".join(job.options), "codec": boundaries[0]["wire"],
        "nominal_forward": short(rates[0]), "nominal_gradient": short(rates[1]),
        "forward_bits": short(32 * total("forward", "bytes") / total("forward", "raw")),
        "gradient_bits": short(32 * total("gradient", "bytes") / total("gradient", "raw")),
        "forward_bytes_per_image": short(total("forward", "bytes") / images),
        "gradient_bytes_per_image": short(total("gradient", "bytes") / images),
        "raw_bytes_per_image": short((total("forward", "raw") + total("gradient", "raw")) / images),
        "accuracy": short(told["accuracy"]), "best_accuracy": short(told["best_accuracy"]),
        "epochs": str(told["settings"]["epochs"]), "images": str(images),
        "train_images": str(told["train_images"]), "test_images": str(told["test_images"]),
        # Without the folder, which is nobody else's.
        "data": "CIFAR-10" if told["data"].startswith("CIFAR-10") else "drawings",
        "threads": str(notes["threads"]), "at_once": str(notes.get("at_once", "")), "hardware": notes["hardware"],
        "seconds": short(told["seconds"]), "peak_mb": str(notes.get("peak_mb", "")), "version": told["version"],
        "commit": "+".join(notes["commits"]),
    }


def read_csv(file):
    if not file.exists():
        return []
    with open(file, newline="") as f:
        return list(csv.DictReader(f))


def to_csv(rows, columns):
    text = io.StringIO()
    out = csv.DictWriter(text, columns, lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()


class Results:
    """The folder of the CSVs: RECIPE.csv and RECIPE-epochs.csv."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def recipes(self):
        return sorted(f.stem for f in self.folder.glob("*.csv") if not f.stem.endswith("-epochs"))

    def runs(self, recipe):
        return read_csv(self.folder / f"{recipe}.csv")

    def epochs(self, recipe):
        return read_csv(self.folder / f"{recipe}-epochs.csv")

    def all_runs(self):
        return [r for recipe in self.recipes() for r in self.runs(recipe)]

    def has(self, job):
        return any(r["run"] == job.name for r in self.runs(job.recipe))

    def add(self, run):
        """Takes a finished run in; one that was there before under its name is replaced."""
        job = run.job
        told = json.loads((run.folder / "run.json").read_text())
        new = row(job, told, run.notes())
        epochs = [{"run": job.name} | e for e in read_csv(run.folder / "metrics.csv")]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two runners may end runs at the same moment
            for name, columns, fresh in ((job.recipe, RUNS, [new]), (f"{job.recipe}-epochs", ["run", *METRICS], epochs)):
                file = self.folder / f"{name}.csv"
                kept = [r for r in read_csv(file) if r["run"] != job.name]
                merged = sorted([*kept, *fresh], key=lambda r: (r["run"], int(r.get("epoch") or 0)))
                text = to_csv(merged, columns)
                if not file.exists() or file.read_text() != text:
                    write_whole(file, text)

    def seconds(self, job, jobs, machine):
        """What a run like this should take with `jobs` at once, from those that this machine has finished: the same wire
        and cut, else the same recipe; None without one.

        `machine` is the processor's name and how many runs keep it busy: more of them share what it gives.
        """
        hardware, full = machine
        rows = [r for r in self.runs(job.recipe) if r["options"] == " ".join(job.options) and r["hardware"] == hardware]
        like = [r for r in rows if r["wire"] == job.wire and r["cut"] == job.cut] or rows
        if not like:
            return None
        return statistics.mean(float(r["seconds"]) * (jobs / int(r["at_once"]) if int(r["at_once"] or 0) >= full else 1)
                               for r in like)

    def peak_mb(self, recipe):
        return max((int(r["peak_mb"]) for r in self.runs(recipe) if r["peak_mb"]), default=None)


# Runs that were started by hand: mobilenetv2-cifar10 --out DIR ... > DIR.log

BOUNDARY = re.compile(r"^ *(\d+) +(?:\d+->\d+|on \d+) +(forward|gradient|inference) +(\d+) +(\d+) +\d+ +(\d+) +[\d.]+%  (.*)$", re.M)
DATA = re.compile(r"^data +(.*): (\d+) for training, (\d+) for testing$", re.M)
TRAINED = re.compile(r"^compressed boundaries: .* for each of (\d+) images trained", re.M)
SHARED = ("wire", "cut", "recipe", "seed")


def manifest_notes(folder):
    manifest = folder / "checkpoint" / "manifest"
    if not manifest.exists():
        raise NotImportable(f"{folder}: there is no checkpoint/manifest: expected the folder of a run (its --out)")
    text = manifest.read_text()
    return {name: value for name, value in re.findall(r"^note (\S+) (.*)$", text, re.M)}


def overrides(program, settings):
    """The options that set a run apart from its recipe, as a list would have them."""
    recipe = program.recipe(settings["recipe"])
    if recipe is None:
        raise NotImportable(f"this program has no recipe '{settings['recipe']}'")
    usual = {"schedule": "gpipe", **recipe}
    words = []
    for name, value in settings.items():
        text, expected = str(value), usual.get(name, "0")
        if name not in SHARED and text != expected and not (is_number(text) and is_number(expected) and
                                                            float(text) == float(expected)):
            words += [f"--{name}", text]
    return tuple(words)


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_by_hand(folder, log, program, version):
    """What run.json would hold, of a run of a program that did not write it: from manifest, metrics and output."""
    notes = manifest_notes(folder)
    metrics = read_csv(folder / "metrics.csv")
    if len(metrics) != int(notes["epochs"]):
        raise NotImportable(f"{folder}: {len(metrics)} of {notes['epochs']} epochs are done: finish it first")
    if not log.exists():
        raise NotImportable(f"{log}: there is no such file: the bytes of each boundary are in the program's output")
    text = log.read_text(errors="replace")
    data, trained = DATA.findall(text), TRAINED.findall(text)
    found = BOUNDARY.findall(text)
    if not (data and trained and found):
        raise NotImportable(f"{log}: the program's last lines are not in it: expected 'compressed boundaries: ...' and the "
                           "table above it")
    compressed = program.compressed(notes["cut"])
    boundaries = {}
    for edge, direction, messages, count, raw, wire in found:
        b = boundaries.setdefault(int(edge), {"edge": int(edge), "compressed": int(edge) in compressed, "wire": wire})
        b[direction] = {"messages": int(messages), "bytes": int(count), "raw": int(raw)}
    return {"program": "mobilenetv2-cifar10", "version": version,
            "settings": {k: v if k in ("wire", "cut", "recipe", "schedule") else json.loads(v) for k, v in notes.items()},
            "data": data[-1][0], "train_images": int(data[-1][1]), "test_images": int(data[-1][2]),
            "images": int(trained[-1]), "accuracy": float(metrics[-1]["accuracy"]),
            "best_accuracy": max(float(m["accuracy"]) for m in metrics),
            "seconds": sum(float(m["seconds"]) for m in metrics), "boundaries": [boundaries[e] for e in sorted(boundaries)]}


def take_in(folder, base, program, threads, at_once, commit, hardware):
    """Copies a finished run from elsewhere into `base` under its name there, and returns it."""
    log = folder / "log.txt" if (folder / "log.txt").exists() else folder.with_name(folder.name + ".log")
    if (folder / "run.json").exists():
        told = json.loads((folder / "run.json").read_text())
        threads = told["threads"] or threads
    else:
        told = read_by_hand(folder, log, program, "")
    settings = told["settings"]
    job = Job(settings["wire"], settings["cut"], settings["recipe"], int(settings["seed"]), overrides(program, settings))
    run = Run(job, base)
    if run.folder.resolve() == folder.resolve():
        return run
    if not run.take():
        raise NotImportable(f"{folder}: another runner is at {run.folder}")
    try:
        notes = {"hardware": hardware, "threads": threads, "commits": [commit], "at_once": at_once}
        if (folder / "notes.json").exists():
            notes = json.loads((folder / "notes.json").read_text())
        shutil.copy(folder / "metrics.csv", run.folder / "metrics.csv")
        if log.exists():
            shutil.copy(log, run.log)
        write_whole(run.folder / "notes.json", json.dumps(notes, indent=1) + "\n")
        write_whole(run.folder / "run.json", json.dumps(told, indent=1) + "\n")  # last: it means finished
    finally:
        run.release()
    return run
