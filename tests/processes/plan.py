#!/usr/bin/env python3
"""pcomp-plan under a launcher: ranks measure themselves in turn, two also their link; only rank 0 prints the plan."""
import json
import pathlib
import subprocess
import sys
import tempfile

from launch import Ranks, expect

OPTIONS = "--width 0.05 --batch 8 --times 1 --wires quant8,thin --micro-batches 2 --json".split()
for size in (2, 3):
    done = Ranks(sys.argv[1], size, *OPTIONS).wait(120)
    for rank, (code, out, err) in done.items():
        expect(code == 0, f"{size} processes: rank {rank} ends with {code}\n{err}")
        expect(rank == 0 or not out, f"{size} processes: rank {rank} says\n{out}")
    plan = json.loads(done[0][1])
    best = plan["recommended"]
    expect(best["wire"] in ("quant8", "thin") and len(best["first_rows"]) == size, f"{size} processes: {best}")
    link = plan["link"]
    expect(link["bytes_per_second"] > 0 if size == 2 else link is None, f"{size} processes: the link is {link}")

# Measurements of another network are refused.
with tempfile.TemporaryDirectory() as base:
    file = pathlib.Path(base) / "measured"
    subprocess.run([sys.argv[1], *OPTIONS, "--ranks", "2", "--save", str(file)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.argv[1], "--json", "--ranks", "2", "--from", str(file)], check=True, stdout=subprocess.DEVNULL)
    lines = file.read_text().splitlines()
    for last in ("block 2 20 ", "crowded 2 20 "):
        left = [line for line in lines if not line.startswith(last)]
        expect(len(left) == len(lines) - 1, f"no line begins with '{last}'")
        file.write_text("\n".join(left) + "\n")
        done = subprocess.run([sys.argv[1], "--ranks", "2", "--from", str(file)], capture_output=True, text=True)
        expect(done.returncode == 1 and "20 blocks with 2 micro-batches, but the network has 21 rows" in done.stderr,
               f"{last}: {done.returncode}\n{done.stderr}")
print("plans of 2 and 3 processes, and from a file")
