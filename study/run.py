#!/usr/bin/env python3
"""Trains every run of the given lists, as many at once as the machine can take; resumes where it was stopped."""
import argparse
import os
import pathlib
import shlex
import sys

import by_hand
import lists
import results
from machine import DRAWINGS, ROOT, at_once, images, this_machine
from runner import Runner
from runs import Run
from screen import time_text


def stop(reason, code=1):
    print(f"study: {reason}", file=sys.stderr)
    sys.exit(code)


def show_lists():
    for file in sorted(lists.HERE.glob("*.txt")):
        about, jobs = lists.read(file)
        print(f"{file.stem:12} {len(jobs):3} runs  {about}")


def state(run, done):
    if row := done.find(run.job):
        return "finished", f"accuracy {100 * float(row['accuracy']):.2f} %, {time_text(float(row['seconds']))}"
    if run.finished():
        return "finished", "not collected yet: the next start does that"
    if run.taken():
        return "running", f"behind epoch {run.epochs_done()}"
    if why := run.failure():
        return "failed", why
    return ("stopped", f"behind epoch {run.epochs_done()}") if run.begun() else ("to come", "")


def show_status(runs, done):
    width, count = max(len(run.name) for run in runs), {}
    for run in runs:
        what, more = state(run, done)
        count[what] = count.get(what, 0) + 1
        print(f"{run.name:{width}}  {what:8}  {more}".rstrip())
    print(", ".join(f"{n} {what}" for what, n in count.items()))


def show_plan(runs, done, jobs):
    width, total = max((len(run.name) for run in runs), default=0), 0.0
    for run in runs:
        seconds = done.seconds(run.job, jobs, this_machine(run.job))
        if seconds is not None:
            seconds *= 1 - run.epochs_done() / done.epochs_of(run.job)
        total = None if seconds is None or total is None else total + seconds
        print(f"{run.name:{width}}  {run.way()}, {'nobody knows how long' if seconds is None else 'about ' + time_text(seconds)}")
    when = ("how long is not known: no run like one of these has finished on this machine" if total is None else
            f"about {time_text(total / jobs)}, if each takes as long as the finished ones like it")
    print(f"{len(runs)} runs, {jobs} at once: {when}" if runs else "nothing is left to do")


def check_images(args, left, done):
    """Reports what will be trained on, and refuses to add that to results from other images."""
    kind, folder = images(args.data)
    print(f"images: {kind}" + (f" in {folder}" if folder else "; ./dev data fetches CIFAR-10, --data DIR names where it is"))
    for recipe in sorted({run.job.recipe for run in left}):
        if (has := done.data(recipe)) not in (None, kind):
            stop(f"{args.results}/{recipe}.csv has runs on {has}, and here are {kind}: expected the same images"
                 f"{' (./dev data, or --data DIR)' if kind == DRAWINGS else ''}; --results DIR and --out DIR keep others apart", 2)


def take_in(args, program, done):
    code = 0
    for folder in args.take:
        try:
            run = by_hand.take_in(pathlib.Path(folder), args.out, program, args.threads, args.jobs or "", args.commit, done)
            done.add(run)
            print(f"{folder}: taken in as {run.name}")
        except (by_hand.NotImportable, OSError, ValueError, KeyError) as e:
            print(f"study: {e}", file=sys.stderr)
            code = 1
    return code


def options():
    parser = argparse.ArgumentParser(prog="./dev study", description=__doc__, epilog="Ctrl-C ends the runs cleanly; the same "
                                     "command resumes them. Results go to docs/study/results, pictures and tables come "
                                     "from ./dev plot; docs/study.md shows both.")
    parser.add_argument("lists", nargs="*", metavar="LIST", help="a list in study/lists, or a file [families]")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the lists")
    what.add_argument("--status", action="store_true", help="show the progress of every run")
    what.add_argument("--dry-run", action="store_true", help="show what would run, and how long that should take")
    what.add_argument("--import", dest="take", nargs="+", metavar="DIR", help="import finished runs that were started "
                      "by hand (train --out DIR > DIR.log)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once [as many as cores and memory allow]")
    parser.add_argument("--threads", type=int, default=1, metavar="N",
                        help="threads per rank; results depend on it [1]")
    parser.add_argument("--only", metavar="TEXT", help="only the runs that have TEXT in their name")
    parser.add_argument("--data", metavar="DIR", help="folder of CIFAR-10's binary files [$PCOMP_CIFAR10, else data/]")
    parser.add_argument("--out", default="runs/study", metavar="DIR", help="where the runs' folders go [runs/study]")
    parser.add_argument("--results", default="docs/study/results", metavar="DIR", help="folder of the CSV files; runs "
                        "in them are not repeated, so name an empty folder to repeat all [docs/study/results]")
    parser.add_argument("--only-parse", action="store_true", help=argparse.SUPPRESS)  # for ./dev, before it builds
    parser.add_argument("--commit", default="unknown", help="with --import: the commit the runs' program was built "
                        "from (give --threads and --jobs as they were)")
    return parser


def main():
    args = options().parse_args()
    if args.list:
        return show_lists()
    for name in ("jobs", "threads"):
        if (value := getattr(args, name)) is not None and value < 1:
            stop(f"--{name} {value}: expected at least 1", 2)
    if args.only_parse:
        lists.read_all(args.lists or ["families"])
        return 0
    build = pathlib.Path(os.environ.get("PCOMP_BUILD", ROOT / "build/release"))
    args.program = str(build / "apps/train/mobilenetv2-cifar10")
    program, done = lists.Program(args.program), results.Results(args.results)
    if args.take:
        return take_in(args, program, done)
    jobs = lists.read_all(args.lists or ["families"])
    jobs = [job for job in jobs if not args.only or args.only in job.name]
    if not jobs:
        stop(f"--only {args.only}: no run of the lists has that in its name", 2)
    runs = [Run(job, args.out) for job in jobs]
    if args.status:
        return show_status(runs, done)
    program.check(jobs)
    args.jobs = args.jobs or at_once(jobs, done)
    args.again = "./dev study " + shlex.join(w for w in sys.argv[1:] if w != "--dry-run")
    left = [run for run in runs if not done.has(run.job)]
    if left:
        check_images(args, left, done)
    if args.dry_run:
        return show_plan(left, done, args.jobs)
    if not left:
        print(f"all {len(runs)} runs are finished; their results are in {args.results}")
        return 0
    print(f"{len(left)} of {len(runs)} runs are to be done, {args.jobs} at once, folders in {args.out}", flush=True)
    return Runner(args, left, done).go()


try:
    sys.exit(main())
except (lists.ListError, results.BadResults) as error:
    stop(error, 2)
except (KeyboardInterrupt, BrokenPipeError):
    sys.exit(130)
