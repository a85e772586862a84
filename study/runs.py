"""One run in its folder: who holds it, how far it is, and its process."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import time

WHENEVER = 10**6  # seconds: ranks are threads of one process, so none is lost while it is only stopped or slow
AT = re.compile(r"^epoch (\d+)/(\d+)\s+(?:(\d+) %\s+)?loss \S+(?:\s+test accuracy (\S+) %)?\s+(\d+) images/s", re.M)


def write_whole(path, text):
    """Leaves the old file or the new one, never a partial one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def joined(before, now):
    """The value a run has; if it has changed on the way, all values in order: 'A + B'."""
    values = str(before).split(" + ") if before not in (None, "") else []
    return now if set(values) <= {str(now)} else " + ".join(dict.fromkeys([*values, str(now)]))


def last_words(said):
    """The program's own last complaint, else the last line that is not a backtrace frame."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    own = [line for line in lines if re.match(r"mobilenetv2-cifar10: |--\w", line)]
    rest = [line for line in lines if not re.match(r"(frame )?#\d+", line)]
    return (own or rest or lines or ["it said nothing"])[-1]


class Run:
    def __init__(self, job, base):
        self.job = job
        self.name = job.name
        self.folder = pathlib.Path(base) / job.name
        self.log = self.folder / "log.txt"
        self.process = self.lock = None
        self.epoch = self.epochs = self.percent = self.ended = 0
        self.accuracy = self.rate = ""

    # What is on disk.

    def read(self, name):
        try:
            return (self.folder / name).read_text()
        except OSError:
            return ""

    def finished(self):
        return (self.folder / "run.json").exists()

    def begun(self):
        return (self.folder / "checkpoint" / "manifest").exists()

    def failure(self):
        return self.read("failed").strip()

    def fail(self, why):
        write_whole(self.folder / "failed", why + "\n")

    def notes(self):
        return json.loads(self.read("notes.json") or "{}")

    def note(self, **more):
        write_whole(self.folder / "notes.json", json.dumps(self.notes() | more, indent=1) + "\n")

    def epochs_done(self):
        return max(0, len(self.read("metrics.csv").splitlines()) - 1)

    def way(self):
        done = self.epochs_done() if self.begun() else 0
        return f"goes on behind epoch {done}" if done else "starts"

    # Taking it.

    def take(self):
        """True if the run is ours now. Its process inherits the lock, which thus holds even if this one is killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self.lock = lock
        return True

    def release(self):
        os.close(self.lock)
        self.lock = None

    def taken(self):
        """Whether another runner holds it, or a process that one has left behind."""
        if not (self.folder / "lock").exists():
            return False
        if not self.take():
            return True
        self.release()
        return False

    # Its process.

    def start(self, program, threads, data, about):
        """`about`: what the results say of a run beside what the program says itself."""
        (self.folder / "failed").unlink(missing_ok=True)
        if not self.begun():
            (self.folder / "notes.json").unlink(missing_ok=True)
        notes, about = self.notes(), about | {"threads": threads}
        commits = list(dict.fromkeys([*notes.get("commits", []), about.pop("commit")]))
        self.note(**{what: joined(notes.get(what), now) for what, now in about.items()}, commits=commits)
        # If this process is killed, the program ends after its current step.
        command = ["setpriv", "--pdeathsig", "TERM", "--", program, "--out", self.folder,
                   *(["--resume"] if self.begun() else []), *self.job.words(), "--threads", str(threads),
                   "--timeout", str(WHENEVER), *(["--data", data] if data else [])]
        with open(self.log, "ab") as out:
            self.read_from = out.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            pass_fds=[self.lock], start_new_session=True)
        self.epoch = self.epochs_done() + 1

    def wait(self, show):
        """Calls `show` now and then until the process has ended: '' if the run has finished, else why not."""
        pid = 0
        while not pid:
            time.sleep(0.2)
            pid, status, used = os.wait4(self.process.pid, os.WNOHANG)
            show(self)
        self.process.returncode = code = os.waitstatus_to_exitcode(status)
        self.note(peak_mb=max(self.notes().get("peak_mb", 0), used.ru_maxrss // 1000))
        if code == 0 and self.finished():
            return ""
        last = last_words(self.said())
        if code < 0:
            return f"ended by {signal.Signals(-code).name}; last it said: {last}"
        return last if code else f"ended without run.json; last it said: {last}"

    def end(self, number):
        """Sends a signal, not through Popen, which would take the exit status from `wait`."""
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def said(self):
        with open(self.log, "rb") as file:
            file.seek(self.read_from)
            return file.read().decode(errors="replace")

    def look(self):
        """Reads the run's progress; True if an epoch has ended since the last look."""
        before = self.ended
        for match in AT.finditer(self.said()):
            self.epoch, self.epochs, self.rate = int(match[1]), int(match[2]), match[5]
            self.percent = int(match[3] or 100)
            if match[4]:  # else it is training or testing
                self.accuracy, self.ended = match[4], self.epoch
        return self.ended != before

    def share(self):
        return (self.epoch - 1 + self.percent / 100) / self.epochs if self.epochs else 0.0
