"""What ./dev study does: shows the progress or the plan, imports runs, or trains."""
import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import sys

import lists
from machine import DRAWINGS, ROOT, at_once, images, this_machine
from results import BadResults, Results, time_text
from runner import Runner
from runs import Run


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
            raise BadResults(f"{args.results}/{recipe}.csv has runs on {has}, and here are {kind}: expected the same images"
                             f"{' (./dev data, or --data DIR)' if kind == DRAWINGS else ''}; --results DIR and --out DIR keep "
                             "others apart")


def take_in(folder, args, done):
    """Copies a finished run that was started by hand into --out, under its name there, and adds it to the results."""
    told = json.loads((folder / "run.json").read_text())
    settings, device = told["settings"], told["device"]
    options = told["options"] + (f" --device {device}" if device != "cpu" else "")
    job = lists.Job(settings["wire"], settings["cut"], settings["recipe"], settings["seed"],
                    tuple(lists.canonical(options).split()))
    if known := done.find(job):
        job = dataclasses.replace(job, options=tuple(known["options"].split()))
    run = Run(job, args.out)
    if run.folder.resolve() != folder.resolve():
        if not run.take():
            raise ValueError(f"{folder}: another runner is at {run.folder}")
        run.note(hardware=this_machine(job)[0], threads=told["threads"] or args.threads, commits=[args.commit],
                 at_once=args.jobs or "")
        for name in ("notes.json", "log.txt", "metrics.csv", "run.json"):  # run.json last: it marks the run as finished
            if (folder / name).exists():
                shutil.copy(folder / name, run.folder / name)
        run.release()
    done.add(run)
    print(f"{folder}: taken in as {run.name}")


def take_in_all(args, done):
    code = 0
    for folder in args.take:
        try:
            take_in(pathlib.Path(folder), args, done)
        except (OSError, ValueError) as e:
            print(f"study: {e}", file=sys.stderr)
            code = 1
        except KeyError as e:
            print(f"study: {folder}/run.json has no {e}: an older program wrote it", file=sys.stderr)
            code = 1
    return code


def act(args, jobs):
    build = pathlib.Path(os.environ.get("PCOMP_BUILD", ROOT / "build/release"))
    args.program = str(build / "apps/train/mobilenetv2-cifar10")
    done = Results(args.results)
    if args.take:
        return take_in_all(args, done)
    runs = [Run(job, args.out) for job in jobs]
    if args.status:
        return show_status(runs, done)
    lists.check(args.program, jobs)
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
