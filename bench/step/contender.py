"""A program of one or two ranks that runs as many steps as it is told on its standard input."""
import os
import socket
import subprocess
import sys


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Contender:
    def __init__(self, command, ranks, env=None, prefix=None, host="127.0.0.1"):
        """`prefix`: for each rank what its command begins with, such as `ip netns exec NAME`."""
        self.command = command
        settings = dict(os.environ, OMP_NUM_THREADS="1", TORCH_CPP_LOG_LEVEL="ERROR", MASTER_ADDR=host, MASTER_PORT=str(free_port()), **(env or {}))
        self.processes = []
        for rank in range(ranks):
            own = dict(settings, RANK=str(rank), WORLD_SIZE=str(ranks)) if ranks > 1 else settings
            self.processes.append(subprocess.Popen([*(prefix[rank] if prefix else ()), *command], env=own, text=True,
                                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def run(self, line):
        """The answer to one line: for a number of steps the seconds of one, those of the slower rank."""
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

    def end(self):
        for p in self.processes:
            p.stdin.close()
        for p in self.processes:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
