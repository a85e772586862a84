"""Imports finished runs that were started by hand: mobilenetv2-cifar10 --out DIR ... > DIR.log"""
import dataclasses
import json
import re
import shutil

from lists import Job, canonical
from machine import this_machine
from results import read_csv
from runs import Run, write_whole

BOUNDARY = re.compile(r"^ *(\d+) +(?:\d+->\d+|on \d+) +(forward|gradient|inference) +(\d+) +(\d+) +\d+ +(\d+) +[\d.]+%  (.*)$",
                      re.M)
DATA = re.compile(r"^data +(.*): (\d+) for training, (\d+) for testing$", re.M)
TRAINED = re.compile(r"^compressed boundaries: .* for each of (\d+) images trained", re.M)
SHARED = ("wire", "cut", "recipe", "seed")


class NotImportable(Exception):
    pass


def manifest_notes(folder):
    manifest = folder / "checkpoint" / "manifest"
    if not manifest.exists():
        raise NotImportable(f"{folder}: there is no checkpoint/manifest: expected the folder of a run (its --out)")
    text = manifest.read_text()
    return {name: value for name, value in re.findall(r"^note (\S+) (.*)$", text, re.M) if name != "data"}


def overrides(program, settings):
    """The options in which a run differs from its recipe, as a list would spell them."""
    recipe = program.recipe(settings["recipe"])
    if recipe is None:
        raise NotImportable(f"this program has no recipe '{settings['recipe']}'")
    usual = {"device": "cpu", "schedule": "gpipe", "amp": "off", **recipe}
    words = []
    for name, value in settings.items():
        text, expected = str(value), usual.get(name, "0")
        same = text == expected or (is_number(text) and is_number(expected) and float(text) == float(expected))
        if name not in SHARED and not same and text != "false":
            words += [f"--{name}"] + [text] * (text != "true")
    return tuple(canonical(" ".join(words)).split())


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_by_hand(folder, log, program):
    """What run.json would hold, for a run whose program did not write one: from manifest, metrics and output."""
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
    return {"program": "mobilenetv2-cifar10", "version": "",
            "settings": {k: json.loads(v) if is_number(v) else v for k, v in notes.items()},
            "data": data[-1][0], "train_images": int(data[-1][1]), "test_images": int(data[-1][2]),
            "images": int(trained[-1]), "accuracy": float(metrics[-1]["accuracy"]),
            "best_accuracy": max(float(m["accuracy"]) for m in metrics),
            "seconds": sum(float(m["seconds"]) for m in metrics), "boundaries": [boundaries[e] for e in sorted(boundaries)]}


def take_in(folder, base, program, threads, at_once, commit, done):
    """Copies a finished run from elsewhere into `base` under its name there, and returns it."""
    log = folder / "log.txt" if (folder / "log.txt").exists() else folder.with_name(folder.name + ".log")
    if (folder / "run.json").exists():
        told = json.loads((folder / "run.json").read_text())
        threads = told["threads"] or threads
    else:
        told = read_by_hand(folder, log, program)
    settings = {"device": told.get("device", "cpu"), **told["settings"]}
    job = Job(settings["wire"], settings["cut"], settings["recipe"], int(settings["seed"]), overrides(program, settings))
    if known := done.find(job):
        job = dataclasses.replace(job, options=tuple(known["options"].split()))
    run = Run(job, base)
    if run.folder.resolve() == folder.resolve():
        return run
    if not run.take():
        raise NotImportable(f"{folder}: another runner is at {run.folder}")
    try:
        notes = {"hardware": this_machine(job)[0], "threads": threads, "commits": [commit], "at_once": at_once}
        if (folder / "notes.json").exists():
            notes = json.loads((folder / "notes.json").read_text())
        shutil.copy(folder / "metrics.csv", run.folder / "metrics.csv")
        if log.exists():
            shutil.copy(log, run.log)
        write_whole(run.folder / "notes.json", json.dumps(notes, indent=1) + "\n")
        write_whole(run.folder / "run.json", json.dumps(told, indent=1) + "\n")  # last: it marks the run as finished
    finally:
        run.release()
    return run
