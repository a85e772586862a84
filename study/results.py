"""The results of finished runs: for each recipe, one CSV with a line per run and one with a line per epoch."""
import csv
import fcntl
import json
import os
import pathlib
import re

import pandas

from lists import canonical
from machine import DRAWINGS
from runs import write_whole

RUNS = ["run", "wire", "cut", "recipe", "seed", "options", "codec", "nominal_forward", "nominal_gradient",
        "forward_bits", "gradient_bits", "forward_bytes_per_image", "gradient_bytes_per_image", "raw_bytes_per_image",
        "accuracy", "best_accuracy", "epochs", "images", "train_images", "test_images", "data", "threads", "at_once",
        "hardware", "seconds", "peak_mb", "version", "commit"]
EPOCHS = ["run", "epoch", "loss", "accuracy", "lr", "seconds", "images_per_second", "forward_bytes", "gradient_bytes"]


class BadResults(ValueError):
    pass


def short(x):
    return f"{x:.6g}"


def time_text(seconds):
    s = int(seconds + 0.5)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02} min"


def row(job, told, notes):
    """One line of the runs' CSV. The bytes are those of the boundaries that carry the chosen wire, in training."""
    boundaries = [b for b in told["boundaries"] if b["compressed"]]
    if not boundaries:
        raise BadResults(f"{job.name}: no boundary is compressed at cut {job.cut}: expected bytes to count")
    images, raw_bytes, found = told["images"], 0, {}
    for way in ("forward", "gradient"):
        sent, raw = (sum(b[way][what] for b in boundaries) for what in ("bytes", "raw"))
        # Boundaries may carry different wires: each is weighted by its elements.
        found[f"nominal_{way}"] = short(sum(b["nominal"][way] * b[way]["raw"] for b in boundaries) / raw)
        found[f"{way}_bits"] = short(32 * sent / raw)
        found[f"{way}_bytes_per_image"] = short(sent / images)
        raw_bytes += raw
    return found | {
        "run": job.name, "wire": job.wire, "cut": job.cut, "recipe": job.recipe, "seed": str(job.seed),
        "options": " ".join(job.options), "codec": " + ".join(dict.fromkeys(b["wire"] for b in boundaries)),
        "raw_bytes_per_image": short(raw_bytes / images),
        "accuracy": short(told["accuracy"]), "best_accuracy": short(told["best_accuracy"]),
        "epochs": str(told["settings"]["epochs"]), "images": str(images),
        "train_images": str(told["train_images"]), "test_images": str(told["test_images"]),
        # Without the folder, which means nothing to anyone else.
        "data": "CIFAR-10" if told["data"].startswith("CIFAR-10") else DRAWINGS,
        "threads": str(notes["threads"]), "at_once": str(notes.get("at_once", "")), "hardware": notes["hardware"],
        "seconds": short(told["seconds"]), "peak_mb": str(notes.get("peak_mb", "")), "version": told["version"],
        "commit": "+".join(notes["commits"]),
    }


def read_csv(file, columns=None):
    """Every cell as its text, so that what is written again stays as it is; a file that is not there is empty."""
    if not file.exists():
        return pandas.DataFrame(columns=columns, dtype=str)
    with open(file, newline="") as f:
        head, *rows = csv.reader(f)
    for number, cells in enumerate(rows, 2):  # a merge conflict or a truncated file; pandas would fill it up
        if len(cells) != len(head):
            raise BadResults(f"{file}:{number}: expected {len(head)} columns, got {len(cells)}")
    return pandas.DataFrame(rows, columns=head, dtype=str)


def one_kind(runs, file):
    """What all of them trained on; None if there are none."""
    kinds = sorted(set(runs.data))
    if len(kinds) > 1:
        raise BadResults(f"{file}: expected runs on the same images, got {' and '.join(kinds)}: their accuracies cannot be "
                         "compared")
    return kinds[0] if kinds else None


def take_out(options, name):
    """A run's options without `name`, and its value, None if it was not among them."""
    match = re.search(rf"(?:^| ){name}[ =](\S+)", options)
    return (options[:match.start()] + options[match.end():]).strip() if match else options, match and match[1]


class Results:
    """The folder of the CSVs: RECIPE.csv and RECIPE-epochs.csv."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def runs(self, recipe):
        return read_csv(self.folder / f"{recipe}.csv", RUNS)

    def epochs(self, recipe):
        return read_csv(self.folder / f"{recipe}-epochs.csv", EPOCHS)

    def data(self, recipe):
        """What the recipe's runs trained on; None if there are none."""
        return one_kind(self.runs(recipe), self.folder / f"{recipe}.csv")

    def find(self, job):
        """The job's line, however its options are spelled there; None if there is none."""
        return next((r for r in self.runs(job.recipe).to_dict("records")
                     if (r["wire"], r["cut"], job.recipe, r["seed"], canonical(r["options"])) == job.key), None)

    def has(self, job):
        return self.find(job) is not None

    def add(self, run):
        """Adds a finished run; if it was there before, it is replaced and keeps its name."""
        job = run.job
        new = row(job, json.loads((run.folder / "run.json").read_text()), run.notes())
        epochs = read_csv(run.folder / "metrics.csv")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may finish at the same moment
            new |= {what: (self.find(job) or new)[what] for what in ("run", "options")}
            # The run's own line goes last: a run that has one is not looked at again.
            for name, old, fresh in ((f"{job.recipe}-epochs", self.epochs(job.recipe), epochs.assign(run=new["run"])),
                                     (job.recipe, self.runs(job.recipe), pandas.DataFrame([new]))):
                table = pandas.concat([old[old.run != new["run"]], fresh])[list(old.columns)]
                if name == job.recipe:
                    one_kind(table, self.folder / f"{name}.csv with {job.name}")
                write_whole(self.folder / f"{name}.csv", table.sort_values("run", kind="stable").to_csv(index=False))
        finally:
            os.close(lock)

    def epochs_of(self, job):
        """The epochs its options say, else those of its recipe's finished runs; None if there are none."""
        told = take_out(" ".join(job.options), "--epochs")[1] or next(
            (r.epochs for r in self.runs(job.recipe).itertuples() if not take_out(r.options, "--epochs")[1]), None)
        return told and int(told)

    def seconds(self, job, jobs, machine):
        """The seconds a run like this should take with `jobs` at once, from the seconds per epoch of runs finished on
        this machine: those of the same wire and cut, else of the same recipe; None if there are none.

        `machine` is the hardware's name and how many runs keep it busy: more than that share what it can do.
        """
        hardware, full = machine

        def others(options):
            return canonical(take_out(options, "--epochs")[0])

        def crowd(at_once):
            counts = [int(n) for n in str(at_once).split(" + ") if n] or [full]
            return max(full, sum(counts) / len(counts))

        runs, epochs = self.runs(job.recipe), self.epochs_of(job)
        runs = runs[(runs.options.map(others) == others(" ".join(job.options))) & (runs.hardware == hardware)]
        like = runs[(runs.wire == job.wire) & (runs.cut == job.cut)]
        like = runs if like.empty else like
        if like.empty or not epochs:
            return None
        each = like.seconds.astype(float) / like.epochs.astype(int) / like.at_once.map(crowd)
        return epochs * each.mean() * crowd(jobs)

    def peak_mb(self, recipe):
        most = pandas.to_numeric(self.runs(recipe).peak_mb).max()
        return None if pandas.isna(most) else int(most)
