#!/usr/bin/env python3
"""A run goes on with the images it began with, wherever they are, and with no others."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "processes"))
from job import OPTIONS, results
from launch import Ranks

program = str(pathlib.Path(sys.argv[1]).resolve())
environment = {name: value for name, value in os.environ.items() if name != "PCOMP_CIFAR10"}
options = "--recipe smoke --cut two --wire quant8 --threads 1 --epochs 4".split()


def expect(ok, what):
    if not ok:
        sys.exit(what)


with tempfile.TemporaryDirectory() as base:
    base = pathlib.Path(base)

    def run(*words, code=0):
        done = subprocess.run([program, *words], cwd=base, env=environment, capture_output=True, text=True, timeout=300)
        expect(done.returncode == code, f"{words}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
        return done.stderr if code == 1 else done.stdout

    (base / "black").mkdir()
    for name in ("test_batch.bin", *(f"data_batch_{b}.bin" for b in range(1, 6))):
        with open(base / "black" / name, "wb") as file:
            file.truncate(30730000)  # black images of class 0

    job = subprocess.Popen([program, *options, "--data", "black", "--out", "run"], cwd=base, env=environment,
                           stdout=subprocess.PIPE, text=True)
    seen = ""
    for line in job.stdout:
        seen += line
        if line.startswith("epoch 1/4"):
            job.send_signal(signal.SIGINT)
    expect(job.wait() == 130 and "go on with: --out run --resume --data black\n" in seen, seen)

    # A run from before the images were recorded goes on.
    shutil.copytree(base / "run", base / "older")
    manifest = base / "older" / "checkpoint" / "manifest"
    lines = manifest.read_text().splitlines(True)
    body = "".join(line for line in lines[:-1] if not line.startswith("note data "))
    expect(len(body.splitlines()) == len(lines) - 2, f"the images are not kept:\n{manifest.read_text()}")
    manifest.write_text(body + f"end {zlib.crc32(body.encode()):08x}\n")
    run("--out", "older", "--resume")

    said = run("--out", "run", "--resume", code=1)
    expect("has other images: CIFAR-10, 50000 and 10000 images, checksum " in said and
           "; here are drawings, 10000 and 2000 images, checksum " in said and "with --data" in said, said)
    with open(base / "black" / "test_batch.bin", "r+b") as file:
        file.write(b"\1")
    said = run("--out", "run", "--resume", "--data", "black", code=1)
    expect("has other images: CIFAR-10, 50000 and 10000 images" in said, said)
    with open(base / "black" / "test_batch.bin", "r+b") as file:
        file.write(b"\0")
    (base / "black").rename(base / "moved")
    expect("resumed after epoch" in run("--out", "run", "--resume", "--data", "moved"), "it does not go on")

    # Ranks 1 to 3 of the looped cut hold stages between: only rank 0 has the images, and all end with the same accuracy.
    where = [["--data", str(base / "moved")], *[["--data", "nowhere"]] * 3]
    done = Ranks(program, 4, *OPTIONS, "--cut", "edge", "--out", str(base / "processes"), each=where, env=environment,
                 cwd=base).wait(300)
    expect(all(code == 0 for code, _, _ in done.values()), f"ranks between need images: {done}")
    run(*OPTIONS, "--cut", "edge", "--out", "threads", "--data", "moved")
    threads, processes = results(base / "threads"), results(base / "processes")
    expect(threads == processes, f"with threads: {threads}\nwith processes: {processes}")
print("resumed with its own images alone; ranks between need none")
