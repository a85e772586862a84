"""A program of one or two ranks that runs as many steps as its standard input asks for."""
import os
import socket
import subprocess
import sys
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def busy():
    """Seconds for which the machine's processors have been busy since it started."""
    fields = open("/proc/stat").readline().split()[1:]
    return sum(int(fields[i]) for i in (0, 1, 2, 5, 6, 7)) / os.sysconf("SC_CLK_TCK")


def rounds_in_turn(contenders, rounds, steps, quiet=0.1):
    """Seconds per step, by name, one number per round; and the largest share of the machine others used in one.

    A round in which others used more than the share `quiet` is repeated, for at most twice as many rounds in all.
    """
    times, shares = {name: [] for name in contenders}, []
    for _ in range(2 * rounds):
        came, start = {}, time.monotonic()
        others = busy() - sum(c.used() for c in contenders.values())
        for name, c in contenders.items():
            came[name] = c.run(steps)
        others = busy() - sum(c.used() for c in contenders.values()) - others
        share = others / (time.monotonic() - start) / os.cpu_count()
        shares.append((share, came))
        if sum(s <= quiet for s, _ in shares) == rounds:
            break
    shares = sorted(shares, key=lambda entry: entry[0])[:rounds]
    for _, came in shares:
        for name in contenders:
            times[name].append(came[name])
    return times, max(share for share, _ in shares)


class Contender:
    def __init__(self, command, ranks, env=None, prefix=None, host="127.0.0.1"):
        """`prefix`: for each rank, what goes before its command, such as `ip netns exec NAME`."""
        self.command = command
        settings = dict(os.environ, OMP_NUM_THREADS="1", TORCH_CPP_LOG_LEVEL="ERROR", MASTER_ADDR=host, MASTER_PORT=str(free_port()), **(env or {}))
        self.processes = []
        for rank in range(ranks):
            own = dict(settings, RANK=str(rank), WORLD_SIZE=str(ranks)) if ranks > 1 else settings
            self.processes.append(subprocess.Popen([*(prefix[rank] if prefix else ()), *command], env=own, text=True,
                                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def run(self, line):
        """The answer to one line: for a number of steps, the seconds per step of the slower rank."""
        for p in self.processes:
            try:
                p.stdin.write(f"{line}\n")
                p.stdin.flush()
            except BrokenPipeError:
                pass
        answers = [p.stdout.readline() for p in self.processes]
        if not all(answers):
            self.end()
            sys.exit(f"{' '.join(self.command)} ended; what it said is above")
        return max(float(a) for a in answers)

    def used(self):
        """Seconds of processor time so far."""
        total = 0
        for p in self.processes:
            fields = open(f"/proc/{p.pid}/stat").read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def end(self):
        for p in self.processes:
            p.stdin.close()
        for p in self.processes:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
