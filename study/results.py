"""The results of finished runs: for each recipe, one CSV with a line per run and one with a line per epoch."""
import csv
import fcntl
import io
import json
import os
import pathlib
import re
import statistics

from lists import canonical
from machine import DRAWINGS
from rates import nominal
from runs import write_whole

RUNS = ["run", "wire", "cut", "recipe", "seed", "options", "codec", "nominal_forward", "nominal_gradient",
        "forward_bits", "gradient_bits", "forward_bytes_per_image", "gradient_bytes_per_image", "raw_bytes_per_image",
        "accuracy", "best_accuracy", "epochs", "images", "train_images", "test_images", "data", "threads", "at_once",
        "hardware", "seconds", "peak_mb", "version", "commit"]
METRICS = ["epoch", "loss", "accuracy", "lr", "seconds", "images_per_second", "forward_bytes", "gradient_bytes"]


class BadResults(ValueError):
    pass


def short(x):
    return f"{x:.6g}"


def row(job, told, notes):
    """One line of the runs' CSV. The bytes are those of the boundaries that carry the chosen wire, in training."""
    boundaries = [b for b in told["boundaries"] if b["compressed"]]
    if not boundaries:
        raise BadResults(f"{job.name}: no boundary is compressed at cut {job.cut}: expected bytes to count")
    images = told["images"]

    def total(direction, what):
        return sum(b[direction][what] for b in boundaries)

    # Boundaries may carry different wires: each is weighted by its elements.
    rates = [sum(nominal(b["wire"])[way] * b[direction]["raw"] for b in boundaries) / total(direction, "raw")
             for way, direction in enumerate(("forward", "gradient"))]
    return {
        "run": job.name, "wire": job.wire, "cut": job.cut, "recipe": job.recipe, "seed": str(job.seed),
        "options": " ".join(job.options), "codec": " + ".join(dict.fromkeys(b["wire"] for b in boundaries)),
        "nominal_forward": short(rates[0]), "nominal_gradient": short(rates[1]),
        "forward_bits": short(32 * total("forward", "bytes") / total("forward", "raw")),
        "gradient_bits": short(32 * total("gradient", "bytes") / total("gradient", "raw")),
        "forward_bytes_per_image": short(total("forward", "bytes") / images),
        "gradient_bytes_per_image": short(total("gradient", "bytes") / images),
        "raw_bytes_per_image": short((total("forward", "raw") + total("gradient", "raw")) / images),
        "accuracy": short(told["accuracy"]), "best_accuracy": short(told["best_accuracy"]),
        "epochs": str(told["settings"]["epochs"]), "images": str(images),
        "train_images": str(told["train_images"]), "test_images": str(told["test_images"]),
        # Without the folder, which means nothing to anyone else.
        "data": "CIFAR-10" if told["data"].startswith("CIFAR-10") else DRAWINGS,
        "threads": str(notes["threads"]), "at_once": str(notes.get("at_once", "")), "hardware": notes["hardware"],
        "seconds": short(told["seconds"]), "peak_mb": str(notes.get("peak_mb", "")), "version": told["version"],
        "commit": "+".join(notes["commits"]),
    }


def read_csv(file):
    if not file.exists():
        return []
    rows = []
    with open(file, newline="") as f:
        reader = csv.DictReader(f)
        for r in reader:  # a merge conflict or a truncated file leaves lines with too few columns
            more = r.pop(None, [])
            got = sum(value is not None for value in r.values()) + len(more)
            if got != len(reader.fieldnames):
                raise BadResults(f"{file}:{reader.line_num}: expected {len(reader.fieldnames)} columns, got {got}")
            rows.append(r)
    return rows


def one_kind(rows, file):
    """What all of them trained on; None if there are none."""
    kinds = sorted({r["data"] for r in rows})
    if len(kinds) > 1:
        raise BadResults(f"{file}: expected runs on the same images, got {' and '.join(kinds)}: their accuracies cannot be "
                         "compared")
    return kinds[0] if kinds else None


def to_csv(rows, columns):
    text = io.StringIO()
    out = csv.DictWriter(text, columns, lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()


def take_out(options, name):
    """A run's options without `name`, and its value, None if it was not among them."""
    match = re.search(rf"(?:^| ){name}[ =](\S+)", options)
    return (options[:match.start()] + options[match.end():]).strip() if match else options, match and match[1]


class Results:
    """The folder of the CSVs: RECIPE.csv and RECIPE-epochs.csv."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def runs(self, recipe):
        return read_csv(self.folder / f"{recipe}.csv")

    def epochs(self, recipe):
        return read_csv(self.folder / f"{recipe}-epochs.csv")

    def data(self, recipe):
        """What the recipe's runs trained on; None if there are none."""
        return one_kind(self.runs(recipe), self.folder / f"{recipe}.csv")

    def find(self, job):
        """The job's line, however its options are spelled there; None if there is none."""
        return next((r for r in self.runs(job.recipe)
                     if (r["wire"], r["cut"], job.recipe, r["seed"], canonical(r["options"])) == job.key), None)

    def has(self, job):
        return self.find(job) is not None

    def add(self, run):
        """Adds a finished run; if it was there before, it is replaced and keeps its name."""
        job = run.job
        told = json.loads((run.folder / "run.json").read_text())
        new = row(job, told, run.notes())
        epochs = read_csv(run.folder / "metrics.csv")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two runners may finish runs at the same moment
            new |= {what: (self.find(job) or new)[what] for what in ("run", "options")}
            epochs = [{"run": new["run"]} | e for e in epochs]
            others = [r for r in self.runs(job.recipe) if r["run"] != new["run"]]
            one_kind([*others, new], self.folder / f"{job.recipe}.csv with {job.name}")
            # The run's own line goes last: a run that has one is not looked at again.
            for name, columns, fresh in ((f"{job.recipe}-epochs", ["run", *METRICS], epochs), (job.recipe, RUNS, [new])):
                file = self.folder / f"{name}.csv"
                kept = [r for r in read_csv(file) if r["run"] != new["run"]]
                merged = sorted([*kept, *fresh], key=lambda r: (r["run"], int(r.get("epoch") or 0)))
                text = to_csv(merged, columns)
                if not file.exists() or file.read_text() != text:
                    write_whole(file, text)
        finally:
            os.close(lock)

    def epochs_of(self, job):
        """The epochs its options say, else those of its recipe's finished runs; None if there are none."""
        told = take_out(" ".join(job.options), "--epochs")[1] or next(
            (r["epochs"] for r in self.runs(job.recipe) if not take_out(r["options"], "--epochs")[1]), None)
        return told and int(told)

    def seconds(self, job, jobs, machine):
        """The seconds a run like this should take with `jobs` at once, from the seconds per epoch of runs finished on
        this machine: those of the same wire and cut, else of the same recipe; None if there are none.

        `machine` is the hardware's name and how many runs keep it busy: more than that share what it can do.
        """
        hardware, full = machine

        def others(text):
            return canonical(take_out(text, "--epochs")[0])

        def crowd(at_once):
            """How many runs share the machine, at least `full`: only more than keep it busy slow each other down."""
            counts = [int(n) for n in str(at_once).split(" + ") if n] or [full]
            return max(full, statistics.mean(counts))

        rows = [r for r in self.runs(job.recipe)
                if others(r["options"]) == others(" ".join(job.options)) and r["hardware"] == hardware]
        like = [r for r in rows if r["wire"] == job.wire and r["cut"] == job.cut] or rows
        epochs = self.epochs_of(job)
        if not like or not epochs:
            return None
        return epochs * statistics.mean(float(r["seconds"]) / int(r["epochs"]) * crowd(jobs) / crowd(r["at_once"]) for r in like)

    def peak_mb(self, recipe):
        return max((int(r["peak_mb"]) for r in self.runs(recipe) if r["peak_mb"]), default=None)
