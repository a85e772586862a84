"""Trains runs through doit, some at once, shows their progress and collects their results."""
import signal
import time

from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain
from doit.exceptions import TaskFailed
from doit.reporter import ZeroReporter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import machine
from results import time_text


class Runner(ZeroReporter):
    """What doit asks while it works: the tasks, and where to report. Which runs are finished is told by the results and
    the runs' folders, which survive a kill, so doit's own database stays in memory."""

    def __init__(self, args, runs, done):
        self.args, self.runs, self.done = args, runs, done
        self.about = {"at_once": args.jobs, "commit": machine.commit(), "data": machine.images(args.data)[0]}
        self.elsewhere, self.running, self.failed = [], [], []
        self.finished = self.signals = 0
        self.width = max(len(run.name) for run in runs)
        self.console = Console()
        self.live = self.console.is_terminal
        self.bars = Progress(TextColumn("{task.description}", markup=False), BarColumn(20), TextColumn("{task.fields[state]}"),
                             TimeRemainingColumn(), console=self.console, disable=not self.live, transient=True,
                             refresh_per_second=4, speed_estimate_period=3600)

    def go(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup and '&' ignore them on purpose
                signal.signal(number, self.on_signal)
        left, self.last_look = self.runs, False
        with self.bars:
            self.all = self.bars.add_task("all", total=len(left), state="")
            while left:
                self.elsewhere = []
                self.doit(left)
                left, self.last_look = self.elsewhere, True
        return self.stopped() if self.signals else self.conclude()

    def doit(self, runs):
        tasks = [{"basename": run.name, "actions": [(self.train, [run])], "verbosity": 0, "io": {"capture": False},
                  "uptodate": [(self.is_known, [run])]} for run in runs]
        config = {"continue": True, "num_process": self.args.jobs, "par_type": "thread", "reporter": self,
                  "backend": "sqlite3", "dep_file": ":memory:"}
        loader = ModuleTaskLoader({"DOIT_CONFIG": config, "task_runs": lambda: (task for task in tasks)})
        if DoitMain(loader, config_filenames=()).run(["run"]) > 1:  # 1: a run has failed
            raise RuntimeError("doit could not work; why is above")

    def is_known(self, run):
        try:
            return self.done.has(run.job)
        except ValueError:  # someone is merging the results right now
            return False

    def train(self, run):
        """What a thread of doit does for a run."""
        while not self.signals and not run.take():
            if not self.last_look:  # the others first
                self.say(run.name, "is another runner's: waits for it")
                self.elsewhere.append(run)
                return TaskFailed("elsewhere", report=False)
            time.sleep(1)
        if self.signals:
            return TaskFailed("not started", report=False)
        self.running.append(run)
        try:
            if (data := run.notes().get("data", self.about["data"])) != self.about["data"]:
                return TaskFailed(f"it was begun on {data}, and here are {self.about['data']}: name another --out, or remove "
                                  f"{run.folder}")
            how = "was finished" if run.finished() else "finished"
            if not run.finished() and (why := self.run(run)):
                if self.signals:
                    return TaskFailed("stopped", report=False)
                run.fail(why)
                return TaskFailed(why)
            self.collect(run, how)
        except Exception as e:  # whatever is wrong with one run's files, the others go on
            return TaskFailed(f"its results: {e}" if isinstance(e, (ValueError, OSError)) else f"its results: {e!r}")
        finally:
            self.running.remove(run)
            run.release()

    def run(self, run):
        bar = self.bars.add_task(f"{run.name:{self.width}}", total=None, state=run.way())
        if not self.live:
            self.say(run.name, run.way())
        run.start(self.args.program, self.args.threads, self.args.data,
                  self.about | {"hardware": machine.this_machine(run.job)[0]})
        if self.signals:
            run.end(signal.SIGINT)
        try:
            return run.wait(lambda run: self.show(run, bar))
        finally:
            self.bars.remove_task(bar)

    def collect(self, run, how):
        self.done.add(run)
        row = self.done.find(run.job)
        self.finished += 1
        both = sum(float(row[f"{way}_bytes_per_image"]) for way in ("forward", "gradient"))
        self.say(run.name, f"{how}: accuracy {100 * float(row['accuracy']):.2f} %, {both / 1000:.3g} kB an image, "
                           f"{time_text(float(row['seconds']))}")

    # What it shows.

    def say(self, name, what):
        self.console.print(f"{name:{self.width}}  {what}", markup=False, highlight=False, soft_wrap=True)

    def show(self, run, bar):
        first, ended = not run.epochs, run.look()
        if not self.live:
            if ended:
                self.say(run.name, f"epoch {run.epoch}/{run.epochs}  accuracy {run.accuracy} %  {run.rate} images/s")
        elif run.epochs:
            if first:
                self.bars.reset(bar, total=1, completed=run.share())  # time left counts from here
            self.bars.update(bar, completed=run.share(), state=f"epoch {run.epoch}/{run.epochs}  " + (
                f"accuracy {run.accuracy} %  " if run.accuracy else "") + f"{run.rate} images/s")
            whole = self.finished + len(self.failed)
            self.bars.update(self.all, completed=whole + sum(r.share() for r in list(self.running)),
                             state=f"{self.finished} finished" + (f", {len(self.failed)} failed" if self.failed else ""))

    def add_failure(self, task, fail):
        """doit calls it for a run that did not end well."""
        if fail.report:
            run = next(run for run in self.runs if run.name == task.name)
            self.failed.append((run, fail.message))
            self.say(run.name, f"FAILED: {fail.message}")

    # How it ends.

    def on_signal(self, number, _):
        """Ends the runs after their current step, keeping their last whole epoch; at a second signal, at once."""
        self.signals += 1
        self.code = 128 + number
        if self.signals == 1:
            self.console.print("study: ending the runs after their step (again: at once)", soft_wrap=True)
        for run in list(self.running):
            run.end(signal.SIGINT if self.signals == 1 else signal.SIGKILL)

    def stopped(self):
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
