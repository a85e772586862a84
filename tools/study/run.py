#!/usr/bin/env python3
"""Trains every run of some lists, as many at once as the machine bears, and goes on where it was stopped."""
import argparse
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import lists
import results
from runs import Run
from screen import Screen, time_text

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUSY = 2  # cores that one run of four ranks keeps busy: the bubble, and stages of different cost
PEAK_MB = {"smoke": 500, "quick": 1100, "seed": 24000}  # until a finished run says better; seed is an estimate


def stop(reason, code=1):
    print(f"study: {reason}", file=sys.stderr)
    sys.exit(code)


def git(*words):
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit():
    """What the program is built from; '-changed' where its sources are not as committed."""
    sources = ("include", "examples/100-mobilenetv2-cifar10", "CMakeLists.txt", "cmake")
    changed = git("status", "--porcelain", "--", *sources)
    return (git("rev-parse", "--short=7", "HEAD") or "unknown") + ("-changed" if changed else "")


def hardware():
    name = "a processor without a name"
    for line in open("/proc/cpuinfo"):
        if line.startswith(("model name", "Model")):
            name = line.split(":", 1)[1].strip()
            break
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def machine():
    """Its processor, and how many runs at once keep that busy."""
    return hardware(), max(1, len(os.sched_getaffinity(0)) // BUSY)


def available_mb():
    for line in open("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 1 << 30


def at_once(jobs, done):
    """How many runs the cores and the memory bear."""
    most = max((done.peak_mb(recipe) or PEAK_MB.get(recipe, 1100)) for recipe in {job.recipe for job in jobs})
    return max(1, min(machine()[1], int(0.9 * available_mb() / most)))


class Runner:
    def __init__(self, args, runs, done):
        self.args, self.done = args, done
        self.waiting = list(runs)  # in order
        self.elsewhere = []  # another runner's
        self.running, self.failed, self.finished = [], [], 0
        self.signals = 0
        self.machine = machine()
        self.screen = Screen(max(len(run.name) for run in runs))
        self.about = {"commit": commit(), "hardware": self.machine[0], "at_once": args.jobs}
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, self.on_signal)

    def on_signal(self, number, _):
        self.signals += 1
        self.code = 128 + number

    def go(self):
        looked = 0.0
        while (self.waiting or self.running or self.elsewhere) and not self.signals:
            now = time.monotonic()
            if self.elsewhere and now - looked > 1:
                self.waiting, self.elsewhere, looked = self.waiting + self.elsewhere, [], now
            self.fill()
            self.poll()
            self.screen.draw(self.running, self.foot())
            time.sleep(0.2)
        if self.signals:
            return self.end_children()
        self.screen.wipe()
        return self.conclude()

    def fill(self):
        while self.waiting and len(self.running) < self.args.jobs:
            run = self.waiting.pop(0)
            if not run.take():
                if not getattr(run, "was_elsewhere", False):
                    self.screen.say(run.name, "is another runner's: waits for it")
                run.was_elsewhere = True
                self.elsewhere.append(run)
            elif run.finished():
                run.release()
                self.collect(run, "was finished")
            else:
                way = run.way()
                run.start(self.args.program, self.args.threads, self.args.data, self.about)
                self.running.append(run)
                if not self.screen.live:
                    self.screen.say(run.name, way)

    def poll(self):
        for run in list(self.running):
            why = run.poll()
            if run.look() and not self.screen.live:
                self.screen.say(run.name, f"epoch {run.epoch}/{run.epochs}  accuracy {run.accuracy} %  {run.rate} images/s")
            if why is None:
                continue
            self.running.remove(run)
            if why:
                run.fail(why)
                self.failed.append((run, why))
                self.screen.say(run.name, f"FAILED: {why}")
            else:
                self.collect(run, "finished")
            run.release()

    def collect(self, run, what):
        try:
            self.done.add(run)
        except (ValueError, KeyError, OSError) as e:
            self.failed.append((run, f"its results: {e}"))
            self.screen.say(run.name, f"FAILED: its results: {e}")
            return
        self.finished += 1
        row = next(r for r in self.done.runs(run.job.recipe) if r["run"] == run.name)
        both = sum(float(row[f"{way}_bytes_per_image"]) for way in ("forward", "gradient"))
        self.screen.say(run.name, f"{what}: accuracy {100 * float(row['accuracy']):.2f} %, {both / 1000:.3g} kB an image, "
                                  f"{time_text(float(row['seconds']))}")

    def foot(self):
        facts = [f"{self.finished} finished", f"{len(self.running)} running", f"{len(self.waiting)} to come"]
        facts += [f"{len(self.elsewhere)} at another runner"] * bool(self.elsewhere)
        facts += [f"{len(self.failed)} failed"] * bool(self.failed)
        known = [self.done.seconds(run.job, self.args.jobs, self.machine) for run in self.waiting]
        now = [run.left() for run in self.running]
        if None not in known and None not in now:
            facts.append(f"about {time_text((sum(known) + sum(now)) / self.args.jobs)} left")
        return ", ".join(facts)

    def end_children(self):
        """They end after their step, their last whole epoch is kept; at a second signal, at once."""
        self.screen.wipe()
        print("study: ending the runs after their step (again: at once)", flush=True)
        for run in self.running:
            run.process.send_signal(signal.SIGINT)
        limit = time.monotonic() + 60
        while self.running:
            if self.signals > 1 or time.monotonic() > limit:
                for run in self.running:
                    run.process.kill()
            for run in list(self.running):
                why = run.poll()
                if why is not None:
                    self.running.remove(run)
                    if not why:
                        self.collect(run, "finished")
                    run.release()
            time.sleep(0.05)
        print(f"study: stopped; every run is kept up to its last whole epoch in {self.args.out}\n"
              f"go on with: {self.args.again}", flush=True)
        return self.code

    def conclude(self):
        print(f"{self.finished} finished{f', {len(self.failed)} failed' if self.failed else ''}; results in "
              f"{self.args.results}", flush=True)
        for run, why in self.failed:
            print(f"failed: {run.name}: {why}\n        all it said: {run.log}", flush=True)
        if self.failed:
            print(f"try them again with: {self.args.again}", flush=True)
        return 1 if self.failed else 0


def show_lists():
    for file in sorted(lists.HERE.glob("*.txt")):
        about, jobs = lists.read(file)
        print(f"{file.stem:12} {len(jobs):3} runs  {about}")


def state(run, done):
    if done.has(run.job):
        row = next(r for r in done.runs(run.job.recipe) if r["run"] == run.name)
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
    here = machine()
    for run in runs:
        seconds = done.seconds(run.job, jobs, here)
        if seconds is not None:
            epochs = [r["epochs"] for r in done.runs(run.job.recipe)]
            seconds *= 1 - run.epochs_done() / int(epochs[0])
        total = None if seconds is None or total is None else total + seconds
        print(f"{run.name:{width}}  {run.way()}, {'nobody knows how long' if seconds is None else 'about ' + time_text(seconds)}")
    when = ("how long is not known: no run like one of these has finished on this machine" if total is None else
            f"about {time_text(total / jobs)}, if each takes as long as the finished ones like it")
    print(f"{len(runs)} runs, {jobs} at once: {when}" if runs else "nothing is left to do")


def take_in(args, program, done):
    code = 0
    for folder in args.take:
        try:
            run = results.take_in(pathlib.Path(folder), args.out, program, args.threads, args.jobs or "", args.commit,
                                  hardware())
            done.add(run)
            print(f"{folder}: taken in as {run.name}")
        except (results.NotImportable, OSError, ValueError, KeyError) as e:
            print(f"study: {e}", file=sys.stderr)
            code = 1
    return code


def options():
    parser = argparse.ArgumentParser(prog="./dev study", description=__doc__, epilog="Ctrl-C ends the runs cleanly; the same "
                                     "command goes on. Results go to docs/study/results, pictures and tables come from "
                                     "./dev plot; docs/study.md has both.")
    parser.add_argument("lists", nargs="*", metavar="LIST", help="of tools/study/lists, or a file [families]")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the lists")
    what.add_argument("--status", action="store_true", help="show how far every run is")
    what.add_argument("--dry-run", action="store_true", help="show what would run, and how long that should take")
    what.add_argument("--import", dest="take", nargs="+", metavar="DIR", help="take finished runs in that were started by "
                      "hand (train --out DIR > DIR.log)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once [as cores and memory bear]")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each rank; results depend on it [1]")
    parser.add_argument("--only", metavar="TEXT", help="of the lists, the runs that have TEXT in their name")
    parser.add_argument("--data", metavar="DIR", help="CIFAR-10's binary files [$PCOMP_CIFAR10, else data/]")
    parser.add_argument("--out", default="runs/study", metavar="DIR", help="the runs' folders [runs/study]")
    parser.add_argument("--results", default="docs/study/results", metavar="DIR", help="the CSVs; what they hold is not run "
                        "again, so name an empty folder to repeat it all [docs/study/results]")
    parser.add_argument("--commit", default="unknown", help="with --import: what the runs' program was built from (--threads and "
                        "--jobs: as they were)")
    return parser


def main():
    args = options().parse_args()
    if args.list:
        return show_lists()
    for name in ("jobs", "threads"):
        if (value := getattr(args, name)) is not None and value < 1:
            stop(f"--{name} {value}: expected at least 1", 2)
    build = pathlib.Path(os.environ.get("PCOMP_BUILD", ROOT / "build/release"))
    args.program = str(build / "examples/100-mobilenetv2-cifar10/mobilenetv2-cifar10")
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
    if args.dry_run:
        return show_plan(left, done, args.jobs)
    if not left:
        print(f"all {len(runs)} runs are finished; their results are in {args.results}")
        return 0
    print(f"{len(left)} of {len(runs)} runs are to be done, {args.jobs} at once, folders in {args.out}", flush=True)
    return Runner(args, left, done).go()


try:
    sys.exit(main())
except lists.ListError as error:
    stop(error, 2)
except (KeyboardInterrupt, BrokenPipeError):
    sys.exit(130)
