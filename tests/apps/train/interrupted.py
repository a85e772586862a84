#!/usr/bin/env python3
"""Runs the main job as a user would: to the end, interrupted, killed, resumed, and with mistakes."""
import pathlib
import signal
import subprocess
import sys
import tempfile
import zipfile

program = sys.argv[1]
small = "--width 0.05 --images 512 --batch 64 --epochs 3 --threads 1 --wire topk10-quant8".split()


def expect(ok, what):
    if not ok:
        sys.exit(what)


def run(*options, code=0):
    done = subprocess.run([program, *options], capture_output=True, text=True, timeout=600)
    expect(done.returncode == code, f"{options}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done.stdout if code in (0, 130) else done.stderr


def stop_after_first_epoch(folder, how):
    job = subprocess.Popen([program, *small, "--out", folder], stdout=subprocess.PIPE, text=True)
    seen = ""
    for line in job.stdout:
        seen += line
        if line.startswith("epoch 1/3"):
            job.send_signal(how)
    return seen, job.wait()


def tensors(folder):
    """Checksums of the data in a checkpoint, by file and name."""
    found = {}
    for part in (pathlib.Path(folder) / "checkpoint").glob("*.pt"):
        with zipfile.ZipFile(part) as file:
            found |= {(part.name.split(".")[0], e.filename): e.CRC for e in file.infolist() if "/data/" in e.filename}
    return found


def results(folder):
    lines = (pathlib.Path(folder) / "metrics.csv").read_text().splitlines()
    return [[row.split(",")[i] for i in (0, 1, 2, 3, 6, 7)] for row in lines]


with tempfile.TemporaryDirectory() as base:
    whole, killed, stopped = (str(pathlib.Path(base) / name) for name in ("whole", "killed", "stopped"))
    text = run(*small, "--out", whole)
    expect("test accuracy" in text and "1/29.4 of raw" in text, text)
    for line in text.splitlines():
        word = line.split()
        if len(word) > 8 and word[2] in ("forward", "gradient", "inference"):
            expect(word[4] == word[5], f"counted and predicted bytes differ: {line}")
    expect(len(results(whole)) == 4, "metrics.csv has not one line for each epoch")

    _, code = stop_after_first_epoch(killed, signal.SIGKILL)
    expect(code == -signal.SIGKILL, f"killed, but the code is {code}")
    run("--out", killed, "--resume")
    text, code = stop_after_first_epoch(stopped, signal.SIGINT)
    expect(code == 130 and "interrupted in epoch 2; epoch 1 is kept" in text, f"{code}\n{text}")
    run("--out", stopped, "--resume")
    for folder in (killed, stopped):
        expect(results(folder) == results(whole), f"{results(folder)}\n{results(whole)}")
        one, other = tensors(folder), tensors(whole)
        different = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
        expect(len(other) > 400 and len(different) <= 1, f"differ: {different}")  # the metrics contain times

    # A kill between the last checkpoint and metrics.csv: resuming the finished run writes the line again.
    table = pathlib.Path(killed) / "metrics.csv"
    complete = table.read_text()
    table.write_text("".join(complete.splitlines(True)[:-1]))
    run("--out", killed, "--resume")
    expect(table.read_text() == complete, f"a line is lost:\n{table.read_text()}")

    # Two runs in one folder: one trains, and the other says that the folder is taken.
    both = str(pathlib.Path(base) / "both")
    smoke = [program, "--recipe", "smoke", "--threads", "1", "--out", both]
    jobs = [subprocess.Popen(smoke, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted((job.communicate(timeout=600)[1], job.returncode) for job in jobs)
    expect([code for _, code in said] == [0, 1], f"{said}")
    expect(f"{both} is in use" in said[1][0] or f"{both} holds a run already" in said[1][0], said[1][0])
    job = subprocess.Popen([program, *small, "--out", both + "2"], stdout=subprocess.PIPE, text=True)
    for line in job.stdout:
        if line.startswith("results"):
            break
    expect(f"{both}2 is in use" in run("--out", both + "2", "--resume", code=1), "two runs in a folder")
    job.kill()
    job.communicate()

    text = run(*"--cut whole --micro-batches 1 --amp bf16 --width 0.05 --images 64 --test-images 64 --epochs 1".split(),
               "--out", str(pathlib.Path(base) / "plain"))
    expect("none: one stage has no boundary" in text and "test accuracy" in text and "nan" not in text, text)

    for options, reason in (
        (["--out", whole], "holds a run already"),
        (["--out", whole, "--resume", "--wire", "raw"], "the run to resume has --wire topk10-quant8"),
        (["--out", str(pathlib.Path(base) / "none"), "--resume"], "there is no such checkpoint"),
        (["--data", base], "data_batch_1.bin: there is no such file"),
        (["--cut", "whole", "--wire", "quant8"], "--cut whole has no boundary for --wire quant8"),
        (["--batch", "2", "--out", killed + "2"], "cannot be cut into --micro-batches 4"),
        (["--images", "3", "--out", killed + "3"], "no batch of at least 4 images"),
    ):
        expect(reason in run(*options, code=1), f"{options}: {reason} was not said")
    expect(not pathlib.Path(killed + "2").exists(), "a mistake left a folder")
    for seed in ("-1", "9" * 20):
        expect(f"--seed: expected a whole number from 0 to 18446744073709551615, not '{seed}'" in run("--seed", seed, code=105),
               f"--seed {seed}")
    expect("--lr: expected a number from 1e-09 to 1000, not 'nan'" in run("--lr", "nan", code=105), "--lr nan")
    expect("did you mean 'topk10-quant8'?" in run("--wire", "topk10quant8", code=105), "no suggestion")
    expect("did you mean '--epochs'?" in run("--epoch", "3", code=109), "no suggestion for an option")
    expect("--list-wires" in run("--help") and "Quant<8>" in run("--list-wires"), "--help or --list-wires")
print("run, kill -9, Ctrl-C, resume: the same results to the last bit")
