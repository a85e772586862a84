"""Starts one process for each rank, as a launcher would."""
import os
import signal
import socket
import subprocess
import sys
import time


def expect(ok, what):
    if not ok:
        sys.exit(what)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Ranks:
    """The processes of a program, one for each rank: `options` are the same for all, `each` lists each rank's own."""

    def __init__(self, program, size, *options, each=None, by="torchrun", port=None, env=None, only=None, **popen):
        port = port or free_port()
        names = {"torchrun": ("RANK", "WORLD_SIZE"), "mpirun": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
                 "srun": ("SLURM_PROCID", "SLURM_NTASKS")}[by]
        self.begin = time.monotonic()
        self.processes = {}
        for rank in only if only is not None else range(size):
            own = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **(env or {})}
            own[names[0]], own[names[1]] = str(rank), str(size)
            words = [program, *options, *(each[rank] if each else ())]
            self.processes[rank] = subprocess.Popen(words, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                                    text=True, **popen)

    def __getitem__(self, rank):
        return self.processes[rank]

    def wait(self, limit=60):
        """Returns (code, stdout, stderr) of each rank; a rank that does not end within the limit counts as a hang."""
        end = time.monotonic() + limit
        done, hung = {}, []
        for rank, p in self.processes.items():
            try:
                out, err = p.communicate(timeout=max(0.01, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                hung.append(rank)
                p.send_signal(signal.SIGKILL)
                out, err = p.communicate()
            done[rank] = (p.returncode, out, err)
        self.seconds = time.monotonic() - self.begin
        expect(not hung, f"ranks {hung} hang: {done}")
        return done


def listening(pid):
    """The addresses on which a process listens, in the kernel's hexadecimal form."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    found = set()
    for table in ("tcp", "tcp6"):
        for line in open(f"/proc/{pid}/net/{table}").read().splitlines()[1:]:
            word = line.split()
            if word[3] == "0A" and f"socket:[{word[9]}]" in inodes:
                found.add(word[1].rsplit(":", 1)[0])
    return found
