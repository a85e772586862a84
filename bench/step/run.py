#!/usr/bin/env python3
"""One training step of MobileNetV2 in two stages: pcomp, torch.distributed.pipelining and torchgpipe take turns."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import peers
from contender import Contender, rounds_in_turn

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "bench" / "step"
# What pcomp::keep_memory sets, for a program that does not call it.
def keep(arenas):
    return {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=1073741824:"
                              f"glibc.malloc.arena_max={arenas}"}



def contenders(args, job, build, python):
    """By name: both sides with the same allocator settings, blocks kept or glibc's own; torchgpipe in one process."""
    ours = [str(build / "bench/step/bench-step"), *job]
    peer = [python, str(HERE / "pipelining.py"), *job]
    one = [word for word in job if word not in ("--schedule", args.schedule)]
    all_of_them = {
        "pcomp": lambda: Contender(ours, 2),
        "pcomp, glibc's": lambda: Contender([*ours, "--plain-malloc"], 2),
        "peer, glibc's": lambda: Contender(peer, 2),
        "peer": lambda: Contender(peer, 2, keep(1)),
        "pcomp, threads": lambda: Contender(ours, 1),
        "torchgpipe, glibc's": lambda: Contender([python, str(HERE / "torchgpipe_peer.py"), *one], 1),
        "torchgpipe": lambda: Contender([python, str(HERE / "torchgpipe_peer.py"), *one], 1, keep(2)),
    }
    return {name: make for name, make in all_of_them.items() if not args.only or name in args.only.split(";")}


def measure(args, width, build, python):
    job = ["--width", str(width), "--after", str(args.after), "--schedule", args.schedule, "--batch", str(args.batch),
           "--micro-batches", str(args.micro_batches), "--threads", "1"]
    made = {name: make() for name, make in contenders(args, job, build, python).items()}
    try:
        for c in made.values():
            c.run(args.warmup)
        return rounds_in_turn(made, args.rounds, args.steps)
    finally:
        for c in made.values():
            c.end()


def ratio(times, a, b):
    """The median over the rounds of a's time over b's in the same round."""
    if a not in times or b not in times:
        return None
    return statistics.median(x / y for x, y in zip(times[a], times[b]))


def show(width, times, others):
    print(f"\nwidth {width}; other programs used at most {100 * others:.0f} % of the machine in a round")
    print(f"  {'':22} {'ms a step':>10}   least .. most")
    for name, t in times.items():
        ms = [1e3 * x for x in t]
        print(f"  {name:22} {statistics.median(ms):10.1f}   {min(ms):.1f} .. {max(ms):.1f}")
    rows = (("pcomp / peer, blocks kept on both sides", "pcomp", "peer"),
            ("pcomp / peer, glibc's settings on both sides", "pcomp, glibc's", "peer, glibc's"),
            ("pcomp / peer, both as shipped", "pcomp", "peer, glibc's"),
            ("   of which the allocator's: peer", "peer", "peer, glibc's"),
            ("   of which the allocator's: pcomp", "pcomp", "pcomp, glibc's"),
            ("threads / torchgpipe, blocks kept on both sides", "pcomp, threads", "torchgpipe"),
            ("threads / torchgpipe, both as shipped", "pcomp, threads", "torchgpipe, glibc's"))
    for what, a, b in rows:
        if (r := ratio(times, a, b)) is not None:
            print(f"  {what:50} {r:6.3f}")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(prog="./dev bench step", description=__doc__)
    parser.add_argument("--widths", default="1.0,0.25", metavar="X,...", help="widths of MobileNetV2 [1.0,0.25]")
    parser.add_argument("--schedule", default="1f1b", choices=["1f1b", "gpipe"])
    parser.add_argument("--after", type=int, default=6, metavar="N", help="cut after this block [6]")
    parser.add_argument("--batch", type=int, default=64, metavar="N")
    parser.add_argument("--micro-batches", type=int, default=4, metavar="N")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="turns of each contender [7]")
    parser.add_argument("--steps", type=int, default=2, metavar="N", help="steps per turn [2]")
    parser.add_argument("--warmup", type=int, default=3, metavar="N", help="steps before the first turn [3]")
    parser.add_argument("--only", default="", metavar="A;B", help="only these contenders, by name")
    parser.add_argument("--json", default="", metavar="FILE", help="write every round's seconds to FILE")
    args = parser.parse_args()
    build = (ROOT / os.environ.get("PCOMP_BUILD", "build/release")).resolve()
    subprocess.run(["cmake", str(build)], check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run(["cmake", "--build", str(build), "--target", "bench-step", "-j1"], capture_output=True, text=True)
    if made.returncode:
        sys.exit(made.stdout + made.stderr)
    python = peers.python(build)
    print(f"MobileNetV2 cut behind block {args.after}, batch {args.batch} in {args.micro_batches} micro-batches, "
          f"{args.schedule}, one thread a rank, channels last, raw activations; medians of {args.rounds} rounds of "
          f"{args.steps} steps.\n'glibc's': freed blocks go back to the system, as glibc does of itself; else they are "
          "kept.", flush=True)
    all_times = {}
    for width in args.widths.split(","):
        all_times[width], others = measure(args, float(width), build, python)
        show(width, all_times[width], others)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(all_times, indent=1) + "\n")


main()
