#!/usr/bin/env python3
"""study.py PROGRAM FOLDER: ./dev data; ./dev study on the smoke recipe, undisturbed, stopped and killed at every turn.

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
sys.path.insert(0, str(ROOT / "study"))
import python  # noqa: E402

python.use()
import lists  # noqa: E402
import results  # noqa: E402
import runs as study_runs  # noqa: E402

program, base = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
NAMES = [f"{wire}-edge-smoke-s{seed}" for seed in (1, 2) for wire in ("raw", "topk10-quant8")]
shutil.rmtree(base, ignore_errors=True)
base.mkdir(parents=True)
# Trains on drawings, not on somebody's CIFAR-10: `data/` is looked for in the current folder.
environment = {k: v for k, v in os.environ.items() if k != "PCOMP_CIFAR10"} | {"PCOMP_BUILD": str(program.parents[2])}


def expect(ok, what):
    if not ok:
        sys.exit(what)


def refused(kind, what, *needed):
    """Checks that `what` raises `kind`, with every text of `needed` in its message."""
    try:
        what()
    except kind as e:
        expect(all(text in str(e) for text in needed), f"{needed} are not all in: {e}")
        return
    sys.exit(f"{needed}: nothing was refused")


# Published results can be reproduced: the program knows every wire in them, and every run is in some list.
known = {line.split()[0] for line in lists.wires(str(program)).splitlines() if line.strip()}
published = results.Results(ROOT / "docs" / "study" / "results")
listed = {job.key for file in lists.HERE.glob("*.txt") for job in lists.read(file)[1]}
for recipe in ("quick", "seed"):
    for run in published.runs(recipe).to_dict("records"):
        expect(known.issuperset(run["wire"].split("+")), f"{run['run']}: the program has no such wire any more")
        job = lists.Job(run["wire"], run["cut"], recipe, int(run["seed"]), tuple(run["options"].split()))
        expect(published.has(job) and job.name == run["run"], f"{run['run']}: its name is not that of its settings: {job.name}")
        expect(job.key in listed, f"{run['run']}: no list has it")
# A list has the raw runs that its runs with options need; families has only the whole recipe's.
for name in ("cuts", "head", "board"):
    jobs = [job for job in lists.read(lists.find(name))[1] if job.options]
    raw = {(job.seed, job.options) for job in jobs if job.wire == "raw"}
    expect(jobs and all((job.seed, job.options) in raw for job in jobs), f"{name}: a run has no raw of its seed and options")

# Options are the same in any order and spelling.
expect(lists.canonical("--lr=0.10 --deferred-batch-norm --epochs 2") == "--deferred-batch-norm --epochs 2 --lr 0.1" ==
       lists.canonical("--epochs 2.0 --lr 1e-1 --deferred-batch-norm"), "canonical options")
expect(lists.canonical("--epochs 2") != lists.canonical("--raw-epochs 2"), "other options are other runs")

# A line with too few or too many columns is named.
broken = base / "broken.csv"
for lines, got in (("a,b\n1,2\n3\n", "1"), ("a,b\n1,2\n<<<<<<< HEAD\n", "1"), ("a,b\n1,2\n3,4,5\n", "3")):
    broken.write_text(lines)
    refused(results.BadResults, lambda: results.read_csv(broken), f"broken.csv:3: expected 2 columns, got {got}")
broken.write_text('a,b\n1,\nNA,"x, y"\n')
expect(results.read_csv(broken).to_csv(index=False) == broken.read_text(), "what is written again is not as it was")

# The last words of a failed run say why it failed.
for said, why in (("data  x\n--wire: there is no wire 'foo'\nRun with --help for more information.\n", "--wire: there is no wire 'foo'"),
                  ("mobilenetv2-cifar10: no memory\nframe #0: f() + 0x1 (0x2 in g)\n#1 main\n\n", "mobilenetv2-cifar10: no memory"),
                  ("terminate called\n  what():  no memory\nframe #0: f()\n", "what():  no memory"),
                  ("epoch 1/2  loss 1\n", "epoch 1/2  loss 1"), ("", "it said nothing")):
    expect(study_runs.last_words(said) == why, f"{study_runs.last_words(said)}, not {why}")

# A run that went on elsewhere names both processors: it belongs to neither alone.
crossed = study_runs.Run(lists.Job("raw", "edge", "smoke", 1), base / "crossed")
for processor, threads in (("A", 9), ("B", 1), ("C", 1), ("B", 2)):  # A left nothing to resume from
    expect(crossed.take(), "a run of its own")
    crossed.start("/bin/true", threads, None, {"commit": "c" + processor, "at_once": 2, "hardware": processor, "data": "drawings"})
    crossed.process.wait()
    crossed.release()
    if processor == "B":
        (crossed.folder / "checkpoint").mkdir(exist_ok=True)
        (crossed.folder / "checkpoint" / "manifest").touch()
expect(crossed.notes() == {"hardware": "B + C", "threads": "1 + 2", "at_once": 2, "data": "drawings", "commits": ["cB", "cC"]},
       f"{crossed.notes()}")


# ./dev data fetches what is missing or incomplete, and leaves nothing else. No network: curl and md5sum are stand-ins.
data, tools = base / "data", base / "tools"
(tools / "cifar").mkdir(parents=True)
NAMES_OF_DATA = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
for name in NAMES_OF_DATA:
    (tools / "cifar" / name).touch()
    os.truncate(tools / "cifar" / name, 30730000)
subprocess.run(["tar", "-czSf", tools / "cifar.tar.gz", "-C", tools, "cifar"], check=True)
for name, does in (("curl", f'while [ "$1" != -o ]; do shift; done; echo >>{tools}/fetched; cp {tools}/cifar.tar.gz "$2"'),
                   ("md5sum", "cat >/dev/null")):
    (tools / name).write_text(f"#!/bin/sh\n{does}\n")
    (tools / name).chmod(0o755)


def dev_data(fetched):
    done = subprocess.run([ROOT / "dev", "data", data], capture_output=True, text=True,
                          env=environment | {"PATH": f"{tools}:{environment['PATH']}"})
    expect(done.returncode == 0 and "CIFAR-10 is in" in done.stdout, f"./dev data: {done.returncode}\n{done.stdout}{done.stderr}")
    expect(sorted(f.name for f in data.iterdir()) == NAMES_OF_DATA, f"./dev data leaves {sorted(data.iterdir())}")
    expect(all((data / name).stat().st_size == 30730000 for name in NAMES_OF_DATA), "./dev data leaves a file cut off")
    expect(len((tools / "fetched").read_text().splitlines()) == fetched, "./dev data fetches what is there, or not what is not")


dev_data(1)
dev_data(1)
os.truncate(data / "data_batch_3.bin", 1000)
dev_data(2)
(data / "data_batch_2.bin").unlink()
dev_data(3)
shutil.rmtree(data)


def command(where, *words):
    return [sys.executable, str(ROOT / "study/run.py"), *words, "--out", str(base / where / "runs"), "--results",
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
    """The processes of the program that were started for this test."""
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
    """The results, without what may depend on what happened to a run on its way."""
    done = results.Results(folder)
    drop = ("seconds", "images_per_second", "peak_mb", "commit", "at_once")
    return [{k: v for k, v in r.items() if k not in drop}
            for table in (done.runs("smoke"), done.epochs("smoke")) for r in table.to_dict("records")]


text = study("whole", "smoke", "--jobs", "2")
whole = comparable(base / "results")
expect([r["run"] for r in whole[:4]] == sorted(NAMES), f"not every run is in the results\n{text}")
expect(len(whole) == 4 + 4 * 2, "not a line for each epoch")
expect(whole[0]["forward_bits"] == "32" and whole[0]["nominal_forward"] == "1", f"raw: {whole[0]}")
expect(whole[2]["nominal_forward"] == "0.025" and 1.34 < float(whole[2]["forward_bits"]) < 1.37, f"{whole[2]}")
told = json.loads((base / "whole" / "runs" / NAMES[1] / "run.json").read_text())
first, second = (b for b in told["boundaries"] if b["compressed"])
# Boundaries are weighted by their elements.
first |= {"wire": "Quant<8>", "nominal": {"forward": 0.25, "gradient": 0.25}}
row = results.row(lists.Job("quant8+topk10-quant8", "edge", "smoke", 1), told, {"threads": 1, "hardware": "", "commits": []})
share = first["forward"]["raw"] / (first["forward"]["raw"] + second["forward"]["raw"])
expect(abs(float(row["nominal_forward"]) - 0.25 * share - 0.025 * (1 - share)) < 1e-6, f"{row}")
expect(row["codec"] == "Quant<8> + TopK<1/10> | Quant<8>", f"{row}")
done = results.Results(base / "results")
machine = done.runs("smoke").hardware[0], 3
times = [done.seconds(lists.Job("raw", "edge", "smoke", 9, words), 2, machine) for words in ((), ("--epochs", "6"), ("--lr", "1"))]
expect(times[0] > 0 and abs(times[1] / times[0] - 3) < 1e-6, f"smoke has 2 epochs, 6 should take three times as long: {times}")
expect(times[2] is None, "how long another setting takes is not known")
# `full` runs at once keep the machine busy: fewer are no faster, more share what it gives.
job = lists.Job("raw", "edge", "smoke", 9)
times = [done.seconds(job, jobs, (machine[0], full)) / done.seconds(job, 2, (machine[0], full))
         for jobs, full in ((1, 2), (6, 2), (6, 3), (1, 1))]
expect(all(abs(t - u) < 1e-6 for t, u in zip(times, (1, 3, 2, 0.5))), f"{times}")
expect(results.take_out("--raw-epochs 1 --epochs=12 --lr 1", "--epochs") == ("--raw-epochs 1 --lr 1", "12"), "an option of a run")
expect("all 4 runs are finished" in study("whole", "smoke"), "finished runs run again")
expect("nothing is left to do" in study("whole", "smoke", "--dry-run"), "--dry-run")
expect("images: drawings" in text.splitlines()[0], f"what is trained on is not told first\n{text}")


def again(where):
    """A new study whose runs are already finished: it gets copies of the undisturbed study's run folders."""
    shutil.copytree(base / "whole" / "runs", base / where / "runs")
    return base / where / "runs"


# A run with something wrong in its folder is named, and the others are taken in.
where = again("wrong")
for name, change in ((NAMES[0], lambda told: [b.update(compressed=False) for b in told["boundaries"]]),
                     (NAMES[1], lambda told: told.update(boundaries=3))):
    told = json.loads((where / name / "run.json").read_text())
    change(told)
    (where / name / "run.json").write_text(json.dumps(told))
notes = json.loads((where / NAMES[2] / "notes.json").read_text())
(where / NAMES[2] / "notes.json").write_text(json.dumps(notes | {"data": "CIFAR-10"}))
said = study("wrong", "smoke", code=1)
for name, why in zip(NAMES, ("its results: raw-edge-smoke-s1: no boundary is compressed", "its results: TypeError",
                             "it was begun on CIFAR-10, and here are drawings")):
    expect(f"failed: {name}: {why}" in said, said)
expect("1 finished, 3 failed" in said, said)

# Drawings never mix with CIFAR-10.
where = base / "mixed" / "results"
shutil.copytree(base / "results", where)
lines = (where / "smoke.csv").read_text().replace(",drawings,", ",CIFAR-10,").splitlines(keepends=True)
(where / "smoke.csv").write_text("".join(line for line in lines if not line.startswith(NAMES[0])))
said = study("mixed", "smoke", code=2)
expect("smoke.csv has runs on CIFAR-10, and here are drawings" in said and "Traceback" not in said, said)
refused(results.BadResults, lambda: results.Results(where).add(study_runs.Run(lists.Job("raw", "edge", "smoke", 1), again("mixed"))),
        "expected runs on the same images, got CIFAR-10 and drawings")
expect(len(results.Results(where).runs("smoke")) == 3, "what was refused is there")

# Killed between writing the two files: the run does not count as taken in, and the next start takes it in.
again("killed")


def killed(path, text):
    study_runs.write_whole(path, text)
    results.write_whole = lambda *_: sys.exit("killed")


results.write_whole = killed
killed_results = results.Results(base / "killed" / "results")
job = lists.Job("raw", "edge", "smoke", 1)
try:
    killed_results.add(study_runs.Run(job, base / "killed" / "runs"))
except SystemExit as e:
    expect(str(e) == "killed", f"{e}")
results.write_whole = study_runs.write_whole
expect(not killed_results.has(job), "a run without its epochs counts as taken in")
study("killed", "smoke")
expect(comparable(base / "killed" / "results") == whole, "a run that was killed while it was taken in has other results")

# A run is stopped (SIGSTOP) at the moment that matters, so that no machine is too fast for these tests.
where = base / "disturbed" / "runs"


def freeze(name, moment):
    """Stops the process of a run as soon as the file `moment` is in its folder, and returns the process."""
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

# The runner is killed during the second run, which ends by itself.
runner = begin("disturbed", "smoke", "--jobs", "1")
wait_for((where / NAMES[1] / "checkpoint" / "manifest").exists)
runner.kill()
runner.communicate()
wait_for(lambda: not processes())
# Somebody else holds the second run for a while, and the third is killed: that one is named, the others go on.
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

# A run that cannot work is named with its last line, and --status remembers that it failed.
bad = base / "bad.txt"
bad.write_text("# a mistake that only the run itself finds\nraw edge smoke 1 --images 3\n")
said = study("whole", str(bad), code=1)
expect("failed: raw-edge-smoke-s1-images-3: mobilenetv2-cifar10: there is no batch of at least 4 images" in said, said)
expect("1 failed" in study("whole", str(bad), "smoke", "--status"), "--status forgets what failed")

# Mistakes in a list.
for line, reason in (("raw whole smoke 1", "--cut whole: expected a cut with a boundary"),
                     ("topk10quant8 edge smoke 1", "did you mean 'topk10-quant8'?"),
                     ("raw middle smoke 1", "there is no cut 'middle'"),
                     ("raw edge smoke", "bad.txt:1: expected WIRES CUTS RECIPES SEEDS"), ("raw edge smoke 3-1", "seeds '3-1'"),
                     ("raw edge smoke 1 --epoch 3", "did you mean '--epochs'?"), ("# nothing", "there is no run in it")):
    bad.write_text(line + "\n")
    said = study("whole", str(bad), code=2)
    expect(reason in said and "Traceback" not in said, f"{line}: '{reason}' was not said, but\n{said}")

said = study("whole", "famlies", "--only-parse", code=2)  # what ./dev runs before it builds
expect("there is no list 'famlies'" in said, said)

# Runs that were started by hand; a list may spell their options in any way. Taken in again, they replace themselves.
by_hand = base / "by-hand"
shutil.copytree(base / "whole" / "runs" / NAMES[1], by_hand)
for file in ("notes.json", "lock"):
    (by_hand / file).unlink()
subprocess.run([program, "--recipe", "smoke", "--cut", "edge", "--wire", "topk10-quant8", "--seed", "1", "--threads", "1",
                "--batch", "64", "--lr", "0.2", "--out", base / "other"], env=environment, cwd=base, check=True, capture_output=True)
study("imported", "--import", str(by_hand), str(base / "other"))
study("imported", "--import", str(base / "other"))
one, other = results.Results(base / "imported" / "results").runs("smoke").to_dict("records")
ours = next(r for r in whole if r["run"] == NAMES[1] and "codec" in r)
different = [k for k in ours if one[k] != ours[k]]
expect(not different and other["options"] == "--batch 64 --lr 0.2", f"taken in by hand, these differ: {different}, {other}")
bad.write_text("topk10-quant8 edge smoke 1 --lr=0.20 --batch 64\ntopk10-quant8 edge smoke 1 --batch=64 --lr 2e-1\n")
expect("all 1 runs are finished" in study("imported", str(bad)), "an imported run is not the list's")
told = json.loads((by_hand / "run.json").read_text())
del told["options"]
(by_hand / "run.json").write_text(json.dumps(told))
said = study("imported", "--import", str(base), str(by_hand), code=1)
expect("run.json" in said and "has no 'options': an older program wrote it" in said, said)
print("undisturbed, Ctrl-C, kill -9 of the runner and of a run, two runners: the same results")
