#!/usr/bin/env python3
"""pcomp-plan under a launcher: the ranks measure themselves in turn, two also their link; rank 0 alone tells the plan."""
import json
import sys

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
print("plans of 2 and 3 processes")
