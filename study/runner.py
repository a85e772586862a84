"""Keeps the allowed number of runs going, shows their progress and collects their results."""
import signal
import time

import machine
from screen import Screen, time_text


class Runner:
    def __init__(self, args, runs, done):
        self.args, self.done = args, done
        self.waiting = list(runs)  # in order
        self.elsewhere = []  # held by another runner
        self.running, self.failed, self.finished = [], [], 0
        self.known = None, None  # a state, and how long the runs to come should take from there
        self.signals = 0
        self.screen = Screen(max(len(run.name) for run in runs))
        self.about = {"commit": machine.commit(), "at_once": args.jobs, "data": machine.images(args.data)[0]}
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(s) != signal.SIG_IGN:  # nohup and '&' ignore them on purpose
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
            if self.screen.live:
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
            elif run.notes().get("data", self.about["data"]) != self.about["data"]:
                self.lose(run, f"it was begun on {run.notes()['data']}, and here are {self.about['data']}: name another --out, "
                               f"or remove {run.folder}")
                run.release()
            elif run.finished():
                run.release()
                self.collect(run, "was finished")
            else:
                way = run.way()
                run.start(self.args.program, self.args.threads, self.args.data,
                          self.about | {"hardware": machine.this_machine(run.job)[0]})
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
                self.lose(run, why)
            else:
                self.collect(run, "finished")
            run.release()

    def lose(self, run, why):
        self.failed.append((run, why))
        self.screen.say(run.name, f"FAILED: {why}")

    def collect(self, run, what):
        try:
            self.done.add(run)
            row = self.done.find(run.job)
        except Exception as e:  # whatever is wrong with one run's files, the others go on
            return self.lose(run, f"its results: {e}" if isinstance(e, (ValueError, OSError)) else f"its results: {e!r}")
        self.finished += 1
        both = sum(float(row[f"{way}_bytes_per_image"]) for way in ("forward", "gradient"))
        self.screen.say(run.name, f"{what}: accuracy {100 * float(row['accuracy']):.2f} %, {both / 1000:.3g} kB an image, "
                                  f"{time_text(float(row['seconds']))}")

    def foot(self):
        facts = [f"{self.finished} finished", f"{len(self.running)} running", f"{len(self.waiting)} to come"]
        facts += [f"{len(self.elsewhere)} at another runner"] * bool(self.elsewhere)
        facts += [f"{len(self.failed)} failed"] * bool(self.failed)
        if self.known[0] != (self.finished, len(self.waiting)):  # else the results have not changed
            try:
                known = [self.done.seconds(run.job, self.args.jobs, machine.this_machine(run.job)) for run in self.waiting]
            except ValueError:  # someone is merging the results right now
                known = [None]
            self.known = (self.finished, len(self.waiting)), None if None in known else sum(known)
        now = [run.left() for run in self.running]
        if self.known[1] is not None and None not in now:
            facts.append(f"about {time_text((self.known[1] + sum(now)) / self.args.jobs)} left")
        return ", ".join(facts)

    def end_children(self):
        """Ends the runs after their current step, keeping their last whole epoch; at a second signal, at once."""
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
