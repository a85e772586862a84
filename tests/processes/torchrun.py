#!/usr/bin/env python3
"""The main job under the real torchrun: a rank is killed twice, and each time torchrun starts all ranks anew.

The run goes on from its last checkpoint by itself and ends with the weights of an undisturbed run. Skipped if no
Python is found that can run torch.distributed.run; $PCOMP_PYTHON may name one.
"""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from job import OPTIONS, RANKS, manifest, results, weights
from launch import expect, free_port

program, build = sys.argv[1], pathlib.Path(sys.argv[2])
cut = "edge" if "--edge" in sys.argv else "two"


def python():
    for candidate in (os.environ.get("PCOMP_PYTHON"), build / "peers-python/bin/python", sys.executable):
        if candidate and shutil.which(candidate) and not subprocess.run(
                [candidate, "-c", "import torch.distributed.run"], capture_output=True).returncode:
            return str(candidate)
    print("skipped: no Python here can import torch.distributed.run; $PCOMP_PYTHON may name one")
    sys.exit(77)


def start(folder, *options):
    command = [python(), "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", str(RANKS[cut]),
               "--master-port", str(free_port()), *options, program, *OPTIONS, "--cut", cut, "--out", folder, "--timeout", "20"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


def ranks_of(agent):
    children = pathlib.Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    return [int(c) for c in children if pathlib.Path(f"/proc/{c}/comm").read_text().startswith("mobilenetv2")]


with tempfile.TemporaryDirectory() as base:
    whole, disturbed = f"{base}/whole", f"{base}/disturbed"
    job = start(whole)
    text = job.communicate(timeout=300)[0]
    expect(job.returncode == 0, f"torchrun ends with {job.returncode}: {text}")
    expect(text.count("test accuracy") == 4, f"more than one rank prints: {text}")

    job = start(disturbed, "--max-restarts", "3", "--monitor-interval", "0.2")
    text, kills = "", 0
    for line in job.stdout:
        text += line
        if line.startswith(f"epoch {kills + 1}/") and kills < 2:
            kills += 1
            time.sleep(random.uniform(0, 0.5))
            if ranks := ranks_of(job):
                os.kill(random.choice(ranks), signal.SIGKILL)
    expect(job.wait(300) == 0, f"torchrun ends with {job.returncode}: {text}")
    expect("resumed after epoch" in text, f"nothing was resumed: {text}")
    expect(weights(disturbed) == weights(whole) and results(disturbed) == results(whole), "another end than without faults")
    if "--show" in sys.argv:
        print(text)
print(f"torchrun, {kills} ranks killed: resumed by itself, the same weights to the last bit")
