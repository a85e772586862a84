#!/usr/bin/env python3
"""Kills (-9) or stops ranks of the main job at random moments and starts it again, until it has ended.

Counts hangs, lost or torn checkpoints, ends that differ from an undisturbed run, and errors that say nothing.
"""
import argparse
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

from job import EPOCHS, OPTIONS, RANKS, manifest, results, weights
from launch import Ranks, expect

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("program", help="mobilenetv2-cifar10")
parser.add_argument("--times", type=int, default=50, metavar="N", help="how many ranks to kill or stop [50]")
parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="N", help="of the moments")
parser.add_argument("--cuts", default="two,edge", metavar="LIST", help="cuts to take in turn [two,edge]")
parser.add_argument("--timeout", type=int, metavar="S", help="time limit of the ranks [as an undisturbed run lasts, at least 4]")
parser.add_argument("--verbose", action="store_true", help="show what every rank says")
parser.add_argument("--drill", help="test-ranks: damaged payloads too")
args = parser.parse_args()
dice = random.Random(args.seed)
print(f"seed {args.seed}", flush=True)
MARGIN = 6  # seconds for a roll call and for a busy process to exit
STEP = re.compile(r"pcomp: rank \d+, stage \d+, micro-batch \d+, \w+: ")
count = dict.fromkeys(("killed", "stopped", "hangs", "checkpoints lost or torn", "wrong ends", "silent errors",
                       "in a step", "at a start or a save", "runs"), 0)


limit, seconds, delays = {}, {}, []  # by cut: the ranks' time limit, an undisturbed run; how soon the others end


def start(folder, cut, attempt, **how):
    return Ranks(args.program, RANKS[cut], *OPTIONS, "--cut", cut, "--out", folder, "--timeout", str(limit.get(cut, 60)),
                 env={"TORCHELASTIC_RESTART_COUNT": str(attempt)}, **how)


def checkpoint(folder, before):
    """The epoch of the checkpoint that is there now, which must not be earlier than `before`."""
    try:
        now = manifest(folder)
    except (ValueError, OSError) as torn:
        print(torn)
        now = None
    if before is not None and (now is None or now[0] < before):
        count["checkpoints lost or torn"] += 1
        return before
    return now[0] if now else None


def harm(ranks, how, cut):
    """Kills or stops one rank; the others must end by themselves, even if they were still starting."""
    victim = dice.randrange(len(ranks.processes))
    ranks[victim].send_signal(how)
    begin = time.monotonic()
    end = begin + seconds[cut] + limit[cut] + MARGIN
    for rank, p in ranks.processes.items():
        if rank == victim:
            continue
        try:
            p.wait(timeout=max(0.01, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            count["hangs"] += 1
            print(f"rank {rank} hangs after rank {victim} got {how.name}")
            p.kill()
    took = time.monotonic() - begin
    ranks[victim].kill()
    return victim, took, ranks.wait(30)


def judge(victim, done, over, killed, took):
    for rank, (code, _, err) in done.items():
        if rank == victim or (over and code == 0):
            continue
        lines = [line for line in err.splitlines() if line]
        if args.verbose:
            print(f"  rank {rank}: {err.strip()}")
        if code == 0 or len(lines) != 1 or "pcomp: " not in err:
            count["silent errors"] += 1
            print(f"rank {rank} ends with {code} and says {lines}")
        else:
            count["in a step" if STEP.search(err) else "at a start or a save"] += 1
            if killed and STEP.search(err):
                delays.append(took)


def until_it_ends(base, cut, whole, times):
    """Takes one run to its end with up to `times` faults; returns how many there were."""
    folder, attempt, kept = str(pathlib.Path(base) / f"{cut}{count['runs']}"), 0, None
    count["runs"] += 1
    while True:
        ranks = start(folder, cut, attempt)
        moment = dice.uniform(0, 0.9 * seconds[cut])
        if attempt < times:
            time.sleep(moment)
        if attempt >= times or all(p.poll() is not None for p in ranks.processes.values()):
            for rank, (code, _, err) in ranks.wait(300).items():
                expect(code == 0, f"rank {rank} ends with {code} though nobody harmed it: {err}")
            if attempt == 0:
                seconds[cut] = min(seconds[cut], ranks.seconds)
            if weights(folder) != weights(whole) or results(folder) != results(whole):
                count["wrong ends"] += 1
                a, b = weights(folder), weights(whole)
                print(f"{folder} differs from {whole}:", results(folder), results(whole),
                      [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)])
            return attempt
        how = dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
        count["killed" if how == signal.SIGKILL else "stopped"] += 1
        victim, took, done = harm(ranks, how, cut)
        if args.verbose:
            print(f"rank {victim} of {cut} got {how.name} after {moment:.1f} s, attempt {attempt}")
        kept = checkpoint(folder, kept)
        judge(victim, done, kept == EPOCHS, how == signal.SIGKILL, took)
        attempt += 1


def no_space(base, cut, whole):
    """No rank may write a file above 100 kB from the second epoch on: all end with an error, the first epoch stays."""
    folder = str(pathlib.Path(base) / "no-space")
    ranks = start(folder, cut, 0)
    for line in ranks[0].stdout:
        if line.startswith("epoch 1/"):
            break
    for p in ranks.processes.values():
        p.kill()
    ranks.wait()
    kept = checkpoint(folder, 1)
    before = weights(folder)
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    ranks = start(folder, cut, 1, preexec_fn=small, restore_signals=False)  # Python ignores SIGXFSZ, so writes fail
    for rank, (code, _, err) in ranks.wait(60).items():
        expect(code == 1 and "cannot save" in err and "File too large" in err, f"rank {rank}, no space: {code} {err}")
    if checkpoint(folder, kept) != 1 or weights(folder) != before:
        count["checkpoints lost or torn"] += 1
    for rank, (code, _, err) in start(folder, cut, 2).wait(60).items():
        expect(code == 0, f"rank {rank}, space again: {code} {err}")
    expect(weights(folder) == weights(whole), "after a save without space the run ends differently")


def damaged_payloads():
    done = Ranks(args.drill, 2, "mode=drill", "wire=damaged", "placement=01010", "steps=30").wait(60)
    for rank, (code, _, err) in done.items():
        expect(code == 0, f"rank {rank}, flipped bytes: {code} {err}")


with tempfile.TemporaryDirectory() as base:
    cuts = args.cuts.split(",")
    for cut in cuts:
        ranks = start(f"{base}/whole-{cut}", cut, 0)
        for rank, (code, _, err) in ranks.wait(300).items():
            expect(code == 0, f"rank {rank}, undisturbed: {code} {err}")
        seconds[cut] = ranks.seconds
        limit[cut] = args.timeout or max(4, round(ranks.seconds))
        print(f"cut {cut}: {ranks.seconds:.1f} s undisturbed, time limit {limit[cut]} s", flush=True)
    if args.drill:
        damaged_payloads()
    no_space(base, cuts[0], f"{base}/whole-{cuts[0]}")
    left = args.times
    while left > 0:
        cut = cuts[count["runs"] % len(cuts)]
        left -= until_it_ends(base, cut, f"{base}/whole-{cut}", min(left, 5))
        print(f"{args.times - left} of {args.times}: {count}", flush=True)
bad = ("hangs", "checkpoints lost or torn", "wrong ends", "silent errors")
print(", ".join(f"{what}: {n}" for what, n in count.items()))
if delays:
    delays.sort()
    print(f"after a kill in a step the last of the others ended within {delays[len(delays) // 2]:.2f} s (median), "
          f"{delays[-1]:.2f} s (most)")
sys.exit(any(count[what] for what in bad))
