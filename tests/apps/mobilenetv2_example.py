#!/usr/bin/env python3
"""mobilenetv2_example.py PROGRAM: examples/100 trains on files like CIFAR-10's, says where they are missing, and does as
processes what it does as threads."""
import os
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "processes"))
from launch import Ranks, expect

program = sys.argv[1]
files = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
with tempfile.TemporaryDirectory() as base:
    folder = pathlib.Path(base)
    done = subprocess.run([program, folder], capture_output=True, text=True)
    expect(done.returncode == 1 and f"there is no {folder / files[0]}: ./dev data fetches" in done.stderr, done)
    dice = random.Random(1)
    for name in files:
        (folder / name).write_bytes(b"".join(bytes([dice.randrange(10)]) + dice.randbytes(3072) for _ in range(26)))
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    alone = subprocess.run([program, folder, "1"], capture_output=True, text=True, env=environment)
    expect(alone.returncode == 0 and "epoch 1, loss 2." in alone.stdout and "% of raw" not in alone.stderr, alone)
    rows = lambda text: [line for line in text.splitlines() if "->" in line]
    report = rows(alone.stdout)
    expect("Downsample<2> | Quant<4>" in report[0] and "Quant<3> / Quant<4>" in report[3] and len(report) == 6, report)
    if "--threads-alone" not in sys.argv:
        done = Ranks(program, 3, str(folder), "1").wait(200)
        expect(all(code == 0 for code, _, _ in done.values()), done)
        expect(done[0][1].split("%")[0] == alone.stdout.split("%")[0], (done[0][1], alone.stdout))
        expect(not done[1][1] and not done[2][1], done)
        expect(rows(done[0][1]) == report, (done[0][1], report))
print("the example trains, as threads and as processes")
