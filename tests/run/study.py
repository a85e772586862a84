#!/usr/bin/env python3
"""study.py PROGRAM FOLDER: ./dev study on the smoke recipe, undisturbed and stopped and killed at every turn.

Leaves the undisturbed results in FOLDER/results for study.plots.
"""
import atexit
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "study"))
import lists  # noqa: E402
import results  # noqa: E402

program, base = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
NAMES = [f"{wire}-edge-smoke-s{seed}" for seed in (1, 2) for wire in ("raw", "topk10-quant8")]
shutil.rmtree(base, ignore_errors=True)
base.mkdir(parents=True)
# Drawings, not somebody's CIFAR-10: `data/` is looked for in the current folder.
environment = {k: v for k, v in os.environ.items() if k != "PCOMP_CIFAR10"} | {"PCOMP_BUILD": str(program.parents[2])}


def expect(ok, what):
    if not ok:
        sys.exit(what)


# What is published can be run again: the program knows every wire of the results.
known = {line.split()[0] for line in lists.Program(str(program)).wires().splitlines() if line.strip()}
published = results.Results(ROOT / "docs" / "study" / "results")
for recipe in ("quick", "seed"):
    for run in published.runs(recipe):
        expect(known.issuperset(run["wire"].split("+")), f"{run['run']}: the program has no such wire any more")


def command(where, *words):
    return [sys.executable, str(ROOT / "tools/study/run.py"), *words, "--out", str(base / where / "runs"), "--results",
            str(base / where / "results") if where != "whole" else str(base / "results")]


def study(where, *words, code=0):
    done = subprocess.run(command(where, *words), env=environment, cwd=base, capture_output=True, text=True, timeout=6000)
    expect(done.returncode == code, f"{words}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def begin(where, *words):
    return subprocess.Popen(command(where, *words), env=environment, cwd=base, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)


def words_of(process):
    try:
        text = pathlib.Path(f"/proc/{process}/cmdline").read_text(errors="replace")
        return text.replace(f"{base}/disturbed/runs/", "").split("\0")
    except OSError:
        return [""]


def processes():
    """Of the program, that were started for this test."""
    return [int(p.name) for p in pathlib.Path("/proc").glob("[0-9]*")
            if (words := words_of(p.name))[0] == str(program) and set(words) & set(NAMES)]


@atexit.register
def leave_nothing():
    for process in processes():
        os.kill(process, signal.SIGKILL)


def wait_for(what, seconds=600):
    end = time.monotonic() + seconds
    while not (found := what()):
        expect(time.monotonic() < end, "what should happen did not")
        time.sleep(0.002)
    return found


def comparable(folder):
    """All that must not depend on what happened to a run on its way."""
    done = results.Results(folder)
    drop = ("seconds", "images_per_second", "peak_mb", "commit", "at_once")
    return [{k: v for k, v in r.items() if k not in drop} for r in done.runs("smoke") + done.epochs("smoke")]


text = study("whole", "smoke", "--jobs", "2")
whole = comparable(base / "results")
expect([r["run"] for r in whole[:4]] == sorted(NAMES), f"not every run is in the results\n{text}")
expect(len(whole) == 4 + 4 * 2, "not a line for each epoch")
expect(whole[0]["forward_bits"] == "32" and whole[0]["nominal_forward"] == "1", f"raw: {whole[0]}")
expect(whole[2]["nominal_forward"] == "0.025" and 1.34 < float(whole[2]["forward_bits"]) < 1.37, f"{whole[2]}")
told = json.loads((base / "whole" / "runs" / NAMES[1] / "run.json").read_text())
first, second = (b for b in told["boundaries"] if b["compressed"])
first["wire"] = "Quant<8>"  # a boundary counts by its elements
row = results.row(lists.Job("quant8+topk10-quant8", "edge", "smoke", 1), told, {"threads": 1, "hardware": "", "commits": []})
share = first["forward"]["raw"] / (first["forward"]["raw"] + second["forward"]["raw"])
expect(abs(float(row["nominal_forward"]) - 0.25 * share - 0.025 * (1 - share)) < 1e-6, f"{row}")
expect(row["codec"] == "Quant<8> + TopK<1/10> | Quant<8>", f"{row}")
done = results.Results(base / "results")
machine = done.runs("smoke")[0]["hardware"], 3
times = [done.seconds(lists.Job("raw", "edge", "smoke", 9, words), 2, machine) for words in ((), ("--epochs", "6"), ("--lr", "1"))]
expect(times[0] > 0 and abs(times[1] / times[0] - 3) < 1e-6, f"smoke has 2 epochs, 6 should take three times as long: {times}")
expect(times[2] is None, "how long another setting takes is not known")
expect(results.take_out("--raw-epochs 1 --epochs=12 --lr 1", "--epochs") == ("--raw-epochs 1 --lr 1", "12"), "an option of a run")
expect("all 4 runs are finished" in study("whole", "smoke"), "finished runs run again")
expect("nothing is left to do" in study("whole", "smoke", "--dry-run"), "--dry-run")

# A run is stopped (SIGSTOP) at the moment that matters, so that no machine is too fast for this.
where = base / "disturbed" / "runs"


def freeze(name, moment):
    """The process of a run, stopped as soon as the file `moment` is in its folder."""
    process = wait_for(lambda: [p for p in processes() if name in words_of(p)])[0]
    wait_for((where / name / moment).exists)
    os.kill(process, signal.SIGSTOP)
    wait_for(lambda: "State:\tT" in pathlib.Path(f"/proc/{process}/status").read_text())
    return process


def has_pending(process, number):
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(status.split("ShdPnd:")[1].split()[0], 16) >> (number - 1) & 1


# Ctrl-C in the second epoch of the first run.
runner = begin("disturbed", "smoke", "--jobs", "1")
process = freeze(NAMES[0], "metrics.csv")
runner.send_signal(signal.SIGINT)
wait_for(lambda: has_pending(process, signal.SIGINT))
os.kill(process, signal.SIGCONT)
said = runner.communicate(timeout=600)[0]
expect(runner.returncode == 130 and "go on with: ./dev study smoke --jobs 1" in said, f"Ctrl-C: {runner.returncode}\n{said}")
expect(not processes(), "Ctrl-C leaves runs behind")
expect("1 stopped, 3 to come" in study("disturbed", "smoke", "--status"), "--status")

# The runner is killed in the second run: the run ends by itself.
runner = begin("disturbed", "smoke", "--jobs", "1")
wait_for((where / NAMES[1] / "checkpoint" / "manifest").exists)
runner.kill()
runner.communicate()
wait_for(lambda: not processes())
# The second run is somebody else's for a while, the third is killed: it is named, the others go on.
lock = os.open(where / NAMES[1] / "lock", os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
runner = begin("disturbed", "smoke", "--jobs", "1")
os.kill(freeze(NAMES[2], "metrics.csv"), signal.SIGKILL)
os.close(lock)
said = runner.communicate(timeout=6000)[0]
expect("is another runner's: waits for it" in said, said)
expect(runner.returncode == 1 and f"failed: {NAMES[2]}: ended by SIGKILL" in said and "2 finished, 1 failed" in said,
       f"{runner.returncode}\n{said}")
# Two runners in the same folder: one takes what is left, the other waits for it.
both = [begin("disturbed", "smoke", "--jobs", "1") for _ in range(2)]
said = [r.communicate(timeout=6000)[0] for r in both]
expect([r.returncode for r in both] == [0, 0], "\n".join(said))
expect(sum(f"{NAMES[2]}" in s and "goes on behind epoch 1" in s for s in said) == 1, "\n".join(said))
expect(comparable(base / "disturbed" / "results") == whole, "disturbed runs end with other results")

# A run that cannot be: named with its last line, and the one beside it is done.
bad = base / "bad.txt"
bad.write_text("# a mistake that only the run itself finds\nraw edge smoke 1 --images 3\n")
said = study("whole", str(bad), code=1)
expect("failed: raw-edge-smoke-s1-images-3: mobilenetv2-cifar10: there is no batch of at least 4 images" in said, said)
expect("1 failed" in study("whole", str(bad), "smoke", "--status"), "--status forgets what failed")

# Mistakes in a list.
for line, reason in (("topk10quant8 edge smoke 1", "did you mean 'topk10-quant8'?"),
                     ("raw middle smoke 1", "there is no cut 'middle'"),
                     ("raw edge smoke", "bad.txt:1: expected WIRES CUTS RECIPES SEEDS"), ("raw edge smoke 3-1", "seeds '3-1'"),
                     ("raw edge smoke 1 --epoch 3", "did you mean '--epochs'?"), ("# nothing", "there is no run in it")):
    bad.write_text(line + "\n")
    said = study("whole", str(bad), code=2)
    expect(reason in said and "Traceback" not in said, f"{line}: '{reason}' was not said, but\n{said}")

said = study("whole", "famlies", "--only-parse", code=2)  # what ./dev asks before it builds
expect("there is no list 'famlies'" in said, said)

# A run that was started by hand, with a program that wrote no run.json.
by_hand = base / "by-hand"
shutil.copytree(base / "whole" / "runs" / NAMES[1], by_hand)
(by_hand / "log.txt").rename(base / "by-hand.log")
for file in ("run.json", "notes.json", "lock"):
    (by_hand / file).unlink()
study("imported", "--import", str(by_hand))
one = results.Results(base / "imported" / "results").runs("smoke")
ours = next(r for r in whole if r["run"] == NAMES[1] and "codec" in r)
different = [k for k in ours if one[0][k] != ours[k] and k not in ("version",)]
expect(len(one) == 1 and not different, f"taken in by hand, these differ: {different}")
said = study("imported", "--import", str(base), code=1)
expect("there is no checkpoint/manifest" in said, said)
print("undisturbed, Ctrl-C, kill -9 of the runner and of a run, two runners: the same results")
