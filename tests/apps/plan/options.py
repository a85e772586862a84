#!/usr/bin/env python3
"""options.py PROGRAM MEASURED: pcomp-plan follows every option, or refuses it."""
import json
import pathlib
import subprocess
import sys
import tempfile

program, measured = sys.argv[1:]


def expect(ok, what):
    if not ok:
        sys.exit(what)


def run(*words, code=0):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=300)
    expect(done.returncode == code, f"{words}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done.stderr if code else done.stdout


def refused(*words, because, code=1):
    said = run(*words, code=code)
    expect(because in said and "measuring" not in said, f"{words}: '{because}' was not said, but\n{said}")


def plan(*words):
    return json.loads(run(*words, "--json", "--top", 1000000))


def same(a, b):
    """Whether the candidates are the same in any order: a file keeps 9 digits, which may reorder equal ones."""
    a, b = (sorted((c["cut"], c["schedule"], c["micro_batches"], c["bytes"]) for c in one["candidates"]) for one in (a, b))
    return a == b


def found(of, what):
    return {candidate[what] for candidate in of["candidates"]}


# Choices: the ones asked for, as long as they were measured.
whole = plan("--from", measured, "--rate", "10mbit")
expect(len(found(whole, "wire")) == 6 and found(whole, "micro_batches") == {2, 4, 8, 16}, "not all that was measured")
part = plan("--from", measured, "--rate", "10mbit", "--wires", "quant8", "--micro-batches", 16)
expect(found(part, "wire") == {"quant8"} and found(part, "micro_batches") == {16}, part["recommended"])
refused("--from", measured, "--wires", "nosuch", because="there is no wire 'nosuch'")
refused("--from", measured, "--wires", "quant2", because="no measurements of --wires quant2, but of half, quant4, quant8, raw")
refused("--from", measured, "--micro-batches", "2,3", because="no measurements of --micro-batches 3, but of 2, 4, 8, 16")
for option in ("--check", "--times", "--save"):
    refused("--from", measured, option, 1, because=f"{option} measures here")

# The network is the one that the file names.
expect(plan("--from", measured, "--width", 0.25, "--batch", 64) == plan("--from", measured), "the file's own values")
refused("--from", measured, "--width", 1, because="was measured with --width 0.25, not 1")
refused("--from", measured, "--batch", 7, because="was measured with --batch 64, not 7")

# The link.
expect(whole["link"] == {"bytes_per_second": 1.25e6, "latency": 0}, whole["link"])
expect(plan("--from", measured)["link"] is None, "no link costs nothing")
slow = plan("--from", measured, "--latency", "20ms")
expect(slow["link"] == {"bytes_per_second": None, "latency": 0.02}, slow["link"])
expect("over links of unlimited rate, 20 ms" in run("--from", measured, "--latency", "20ms"), "the latency is not told")
refused("--rate", "0mbit", because="expected more than nothing")

# One machine alone, and whether the pipeline pays.
expect(whole["speedup"] == whole["alone"]["seconds"] / whole["recommended"]["seconds"], whole["alone"])
expect(("does not pay" in whole["verdict"]) == (whole["speedup"] < 1), whole["verdict"])
lines = run("--from", measured, "--rate", "10mbit").splitlines()
expect(lines[2].startswith(f"one machine alone: {1e3 * whole['alone']['seconds']:.1f} ms a step of "), lines[2])
expect(lines[-1] == whole["verdict"], lines[-1])

# Memory.
for bad in ("0mb", "5", "1tb", "mb", "-1gb", "nanmb", "infgb", "1e30gb"):
    refused("--from", measured, f"--memory={bad}", because=f"--memory {bad}: expected ")
refused("--recompute", "sometimes", because="sometimes not in", code=105)
with tempfile.TemporaryDirectory() as base:
    old = pathlib.Path(base) / "old"  # as it was before blocks were measured with their bytes
    old.write_text("".join(" ".join(line.split()[:7]) + "\n" for line in pathlib.Path(measured).read_text().splitlines()
                           if not line.startswith("#")))
    refused("--from", old, "--memory", "1gb", because="needs the blocks' bytes, which were not measured: measure them anew")
    expect(plan("--from", old, "--rate", "10mbit")["recommended"]["cut"] == whole["recommended"]["cut"], "without bytes")

# Mistakes are reported before anything is measured.
refused("--wires", "quant9", because="there is no wire 'quant9'")
refused("--schedules", "pipe", because="there is no schedule 'pipe'")
refused("--save", "/nonexistent/x", because="--save /nonexistent/x: it cannot be written: No such file")
refused("--batch", 2, "--micro-batches", "2,8", because="--batch 2 cannot be cut into --micro-batches 8")
for option in ("--width", "--tolerance"):
    refused(option, "nan", because=f"{option}: expected a number from", code=105)

# Measurements are saved with their network; without --micro-batches, the numbers suit the batch.
with tempfile.TemporaryDirectory() as base:
    file, old = pathlib.Path(base) / "measured", pathlib.Path(base) / "old"
    file.write_text("what was measured before\n")
    here = plan("--width", 0.05, "--batch", 3, "--times", 1, "--wires", "raw", "--check", 2, "--save", file)
    expect(found(here, "micro_batches") == {2}, here["recommended"])
    expect(len(here["checks"]) == 2 and all(c["measured"] > 0 and c["predicted"] > 0 for c in here["checks"]), here)
    expect(here["checks"][0]["candidate"] == here["recommended"], here)
    expect(file.read_text().startswith("network 0.05 3\n"), file.read_text()[:100])
    expect(same(plan("--from", file), here), "another plan from the file")
    # Its blocks have bytes. Half of what the fullest needs is enough for some, and for more if they recompute.
    peaks = [max(candidate["peak_bytes"]) for candidate in here["candidates"]]
    limit = (min(peaks) + max(peaks)) // 2
    for recompute in ("never", "fit"):
        less = plan("--from", file, "--memory", f"{limit / 1e3}kb", "--recompute", recompute)["candidates"]
        expect(less and all(max(one["peak_bytes"]) <= limit for one in less), f"{limit}: {less[:1]}")
        if recompute == "never":
            expect(len(less) == sum(peak <= limit for peak in peaks), f"{len(less)} candidates within {limit}: {peaks}")
            expect(not any(any(one["recompute"]) for one in less), less[0])
    expect(all(all(one["recompute"]) for one in plan("--from", file, "--recompute", "always")["candidates"]), "always")
    refused("--from", file, "--memory", "1kb", because="nothing fits into 0.001 MB a rank: the leanest needs ")
    # A file from before the network was saved: the options name it.
    old.write_text("".join(file.read_text().splitlines(True)[1:]))
    expect(same(plan("--from", old, "--width", 0.05, "--batch", 3), here), "an older file")
    old.write_text("")
    refused("--from", old, because="it has no measured blocks or no wires")
print("pcomp-plan follows or refuses every option")
