"""One run in its folder: who holds it, how far it is, and its process."""
import ctypes
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
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
        self.process = None
        self.lock = None
        self.epoch = self.epochs = self.percent = self.ended = 0
        self.accuracy = self.rate = ""

    # What is on disk.

    def finished(self):
        return (self.folder / "run.json").exists()

    def begun(self):
        return (self.folder / "checkpoint" / "manifest").exists()

    def failure(self):
        try:
            return (self.folder / "failed").read_text().strip()
        except OSError:
            return ""

    def notes(self):
        try:
            return json.loads((self.folder / "notes.json").read_text())
        except (OSError, ValueError):
            return {}

    def epochs_done(self):
        try:
            return max(0, len((self.folder / "metrics.csv").read_text().splitlines()) - 1)
        except OSError:
            return 0

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
        if self.lock is not None:
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
        (self.folder / "failed").unlink(missing_ok=True)
        notes = self.notes() if self.begun() else {}
        commits, about = notes.get("commits", []), about | {"threads": threads}
        notes |= {what: joined(notes.get(what), now) for what, now in about.items() if what != "commit"}
        notes["commits"] = [*commits, *({about["commit"]} - set(commits))]
        write_whole(self.folder / "notes.json", json.dumps(notes, indent=1) + "\n")
        command = [program, "--out", str(self.folder), *(["--resume"] if self.begun() else []), *self.job.words(),
                   "--threads", str(threads), "--timeout", str(WHENEVER), *(["--data", data] if data else [])]
        out = open(self.log, "ab")
        self.read_from = out.tell()
        parent = os.getpid()

        def with_its_runner():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # the program then ends after its current step
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)

        with out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            pass_fds=[self.lock], start_new_session=True, preexec_fn=with_its_runner)
        self.epochs = self.percent = 0
        self.epoch = self.epochs_done() + 1
        self.began, self.began_at = time.monotonic(), None

    def poll(self):
        """None while it runs; then '' if it has finished, else why not."""
        pid, status, used = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return None
        self.process.returncode = code = os.waitstatus_to_exitcode(status)
        notes = self.notes()
        notes["peak_mb"] = max(notes.get("peak_mb", 0), used.ru_maxrss // 1000)
        write_whole(self.folder / "notes.json", json.dumps(notes, indent=1) + "\n")
        if code == 0 and self.finished():
            return ""
        last = last_words(self.said())
        if code < 0:
            return f"ended by {signal.Signals(-code).name}; last it said: {last}"
        return last if code else f"ended without run.json; last it said: {last}"

    def fail(self, why):
        write_whole(self.folder / "failed", why + "\n")

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
        if self.epochs and self.began_at is None:
            self.began_at, self.began = self.share(), time.monotonic()
        return self.ended != before

    def share(self):
        return (self.epoch - 1 + self.percent / 100) / self.epochs if self.epochs else 0.0

    def left(self):
        """Seconds left at the pace so far; None if that is not known yet."""
        if self.began_at is None or self.share() <= self.began_at:
            return None
        return (time.monotonic() - self.began) / (self.share() - self.began_at) * (1 - self.share())
