#!/usr/bin/env python3
"""./dev slow-link: a mistake is one error, and an interrupt or a kill leaves nothing behind; skipped unless root."""
import os
import pathlib
import signal
import subprocess
import sys
import time

root = pathlib.Path(__file__).resolve().parents[2]
build = sys.argv[1]
command = [sys.executable, str(root / "bench/slow-link/run.py")]
env = dict(os.environ, PCOMP_BUILD=build)


def expect(ok, what):
    if not ok:
        sys.exit(what)


def namespaces():
    return [line for line in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines()
            if line.startswith("pcomp-")]


for options, reason in ((["--rate", "fast"], "slow-link: --rate fast: expected a number and one of bit, kbit, mbit, gbit"),
                        (["--rate", "1bit"], "expected at least 10kbit"),
                        (["--latency", "2weeks"], "slow-link: --latency 2weeks: expected a number and one of us, ms, s")):
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=env)
    expect(done.returncode == 1 and reason in done.stderr and "Traceback" not in done.stderr, f"{options}: {done}")
if os.geteuid() == 0 and os.path.exists("/usr/bin/setpriv"):
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", *command], capture_output=True, text=True, env=env)
    expect(done.returncode == 1 and "need root" in done.stderr, f"not root: {done}")
if os.geteuid() != 0 or subprocess.run(["ip", "netns", "add", "pcomp-test"], capture_output=True).returncode:
    print("skipped: no network namespaces without root")
    sys.exit(77)
subprocess.run(["ip", "netns", "delete", "pcomp-test"], check=True)

if len(sys.argv) > 2:  # with the bench's program: interrupt it, and kill it
    for how in (signal.SIGINT, signal.SIGKILL):
        job = subprocess.Popen([*command, "--width", "0.05", "--rounds", "10000", "--wires", "thin"], env=env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            if len(namespaces()) >= 2:
                break
            time.sleep(0.1)
        expect(len(namespaces()) >= 2, "no namespaces were made")
        time.sleep(2)
        job.send_signal(how)
        job.wait(60)
        if how == signal.SIGKILL:  # the next run removes what was left behind
            expect(len(namespaces()) == 2, f"{namespaces()}")
            done = subprocess.run([*command, "--width", "0.05", "--rounds", "1", "--wires", "thin"], env=env,
                                  capture_output=True, text=True)
            expect(done.returncode == 0 and "thin" in done.stdout, f"{done}")
        expect(namespaces() == [], f"left over: {namespaces()}")
print("nothing was left behind")
