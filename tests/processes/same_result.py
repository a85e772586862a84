#!/usr/bin/env python3
"""Processes, threads and the sequential loop give the same losses, outputs, gradients and weights, to the last bit."""
import subprocess
import sys

from launch import Ranks, expect

program = sys.argv[1]
sizes = [int(n) for n in sys.argv[2:]] or [2, 3, 4, 5]


def lines(text):
    return sorted(set(text.splitlines()))


def alone(mode):
    return lines(subprocess.run([program, f"mode={mode}"], check=True, capture_output=True, text=True).stdout)


expected = alone("sequential")
expect(alone("threads") == expected, "threads differ from the sequential loop")
count = 0
for size in sizes:
    ranks = Ranks(program, size, by=("torchrun", "mpirun", "srun")[size % 3])
    done = ranks.wait(120)
    bad = [f"rank {rank}: {code}\n{err}" for rank, (code, _, err) in done.items() if code != 0]
    expect(not bad, f"{size} processes, after {ranks.seconds:.1f} s:\n" + "\n".join(bad))
    came = lines("".join(out for _, out, _ in done.values()))
    mine = [line for line in expected if len(set(line.split()[0])) == size]
    expect(came == mine, f"{size} processes differ: {sorted(set(came) ^ set(mine))[:20]}")
    losses = [[line for line in out.splitlines() if " loss " in line or " output " in line] for _, out, _ in done.values()]
    expect(all(l == losses[0] and l for l in losses), f"{size} processes: not every rank has every loss")
    count += len(came)
print(f"{count} losses, outputs and tensors of {sizes} processes equal those of threads and of the loop")
