#!/usr/bin/env python3
"""main_job.py PROGRAM CSV [OPTION VALUE...]: images per second of the main job, a plain loop against five stages.

The options override those of SEED: --device cpu --width 0.05 --images 256 --batch 64 tries it without a GPU.
"""
import csv
import pathlib
import statistics
import subprocess
import sys
import tempfile



def options(text):
    words = text.split() if isinstance(text, str) else text
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        sys.exit(f"main_job.py: expected pairs of --OPTION VALUE, not {' '.join(words)}")
    return dict(zip(words[::2], words[1::2]))


JOBS = {name: options(text) for name, text in (
    ("plain loop", "--cut whole --micro-batches 1"),
    ("plain loop, 4 micro-batches", "--cut whole --micro-batches 4"),
    ("five stages, raw", "--cut edge --wire raw"),
    ("five stages, quant8", "--cut edge --wire quant8"),
    ("five stages, topk10-quant8", "--cut edge --wire topk10-quant8"),
)}
SEED = options("--device cuda --recipe seed --epochs 3 --images 8192 --test-images 1024")  # 8 steps an epoch
ROUNDS = 2


def rates(program, chosen):
    """Images per second of each epoch but the first, which warms up, or the reason there are none."""
    with tempfile.TemporaryDirectory() as base:
        out = pathlib.Path(base) / "run"
        words = [word for pair in chosen.items() for word in pair]
        done = subprocess.run([program, *words, "--out", str(out)], capture_output=True, text=True)
        if done.returncode:
            return (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[0]
        with open(out / "metrics.csv", newline="") as file:
            return [float(row["images_per_second"]) for row in csv.DictReader(file)][1:]


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: main_job.py PROGRAM CSV [OPTION VALUE...]")
    program, path = sys.argv[1], sys.argv[2]
    base = SEED | options(sys.argv[3:])
    found, failed = {}, {}
    with open(path, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["job", "amp", "round", "images_per_second"])
        for turn in range(ROUNDS):  # the jobs take turns, so that a machine that warms up slows all of them
            for amp in ("off", "bf16"):
                for job, its in JOBS.items():
                    if (job, amp) in failed:
                        continue
                    told = rates(program, base | its | {"--amp": amp})
                    if isinstance(told, str):
                        failed[job, amp] = told
                        continue
                    found.setdefault((job, amp), []).extend(told)
                    rows.writerows([job, amp, turn + 1, rate] for rate in told)
    print(f"images per second: the median of the epochs of {ROUNDS} runs (least to most), and that over the plain loop's\n"
          f"{' '.join(word for pair in base.items() for word in pair)}\n")
    print(f"{'':28} {'--amp off':>32} {'--amp bf16':>32}")
    for job in JOBS:
        line = f"{job:28}"
        for amp in ("off", "bf16"):
            own, plain = found.get((job, amp)), found.get(("plain loop", amp))
            text = "failed"
            if own and (job, amp) not in failed:
                share = f"{statistics.median(own) / statistics.median(plain):6.2f}" if plain else "     -"
                text = f"{statistics.median(own):.0f} ({min(own):.0f} to {max(own):.0f}) {share}"
            line += f" {text:>32}"
        print(line)
    for reason in dict.fromkeys(failed.values()):
        jobs = "; ".join(f"{job}, --amp {amp}" for (job, amp), why in failed.items() if why == reason)
        print(f"\nfailed: {jobs}:\n{reason}")
    sys.exit(bool(failed))


main()
