#!/usr/bin/env python3
"""Two ranks joined by a throttled link: raw and compressed wires, measured and predicted; needs root."""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "step"))
import peers  # noqa: E402
from contender import Contender, rounds_in_turn  # noqa: E402

KEEP = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=1073741824:"
                          "glibc.malloc.arena_max=1"}
DEVICE = "pcomp0"
HOSTS = pathlib.Path("/etc/netns")
PAYLOAD = 1448 / 1514  # the share of a full Ethernet frame that TCP with timestamps carries


def stop(reason):
    sys.exit(f"slow-link: {reason}")


def number(text, units, what):
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)([a-z]*)", text.lower())
    if not match or match[2] not in units or float(match[1]) < 0:
        stop(f"{what} {text}: expected a number and one of {', '.join(u for u in units if u)}")
    return float(match[1]) * units[match[2]]


def ip(*words, check=True):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if check and done.returncode:
        stop(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class SlowLink:
    """Two network namespaces joined by a veth pair that tc's tbf slows down in both directions."""

    def __init__(self, rate, latency):
        self.rate, self.latency, self.delayed = rate, latency, False
        self.names = [f"pcomp-{os.getpid()}-{i}" for i in (0, 1)]
        self.hosts = ["10.213.77.1", "10.213.77.2"]

    def __enter__(self):
        remove_left_overs()
        try:
            for name in self.names:
                ip("netns", "add", name)
                # `ip netns exec` shows this as /etc/hosts: c10d looks up the names of both ends.
                folder = HOSTS / name
                folder.mkdir(parents=True)
                (folder / "hosts").write_text("127.0.0.1 localhost\n" +
                                              "".join(f"{h} pcomp-rank-{i}\n::ffff:{h} pcomp-rank-{i}\n"
                                                      for i, h in enumerate(self.hosts)))
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", self.names[0], "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns",
               self.names[1])
            for name, host in zip(self.names, self.hosts):
                ip("-n", name, "address", "add", f"{host}/24", "dev", DEVICE)
                ip("-n", name, "link", "set", DEVICE, "up")
                self.slow_down(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def slow_down(self, name):
        tc = ["ip", "netns", "exec", name, "tc", "qdisc"]
        burst = max(8192, int(self.rate / 8 / 250))  # what a timer tick of 4 ms lets through
        tbf = ["tbf", "rate", f"{int(self.rate)}bit", "burst", str(burst), "limit", str(max(1 << 20, 4 * burst))]
        done = subprocess.run([*tc, "add", "dev", DEVICE, "root", "handle", "1:", *tbf], capture_output=True, text=True)
        if done.returncode:
            stop(f"tc cannot slow the link down (tbf): {done.stderr.strip()}")
        if self.latency > 0:
            netem = ["netem", "delay", f"{self.latency * 1e6:.0f}us", "limit", "10000"]
            self.delayed = not subprocess.run([*tc, "add", "dev", DEVICE, "parent", "1:1", "handle", "10:", *netem],
                                              capture_output=True).returncode

    def __exit__(self, *_):
        for name in self.names:
            remove(name)

    def prefix(self):
        return [["ip", "netns", "exec", name] for name in self.names]


def remove(name):
    for pid in ip("netns", "pids", name, check=False).split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    ip("-n", name, "link", "delete", DEVICE, check=False)
    ip("netns", "delete", name, check=False)
    shutil.rmtree(HOSTS / name, ignore_errors=True)


def remove_left_overs():
    """Removes the namespaces of runs of this program that were killed."""
    for line in ip("netns", "list", check=False).splitlines():
        match = re.match(r"(pcomp-([0-9]+)-[01])\b", line)
        if match and int(match[2]) != os.getpid() and not pathlib.Path(f"/proc/{match[2]}").exists():
            remove(match[1])


def build_program(build, target):
    subprocess.run(["cmake", str(build)], check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run(["cmake", "--build", str(build), "--target", target, "-j1"], capture_output=True, text=True)
    if made.returncode:
        sys.exit(made.stdout + made.stderr)


def measure(args, rate, latency, build, python):
    job = ["--width", str(args.width), "--after", str(args.after), "--schedule", args.schedule, "--batch", str(args.batch),
           "--micro-batches", str(args.micro_batches), "--threads", "1"]
    wires = args.wires.split(",")
    with SlowLink(rate, latency) as link:
        if latency > 0 and not link.delayed:
            print(f"NOTE: this kernel has no netem: the latency of {args.latency} is NOT applied, and not predicted",
                  flush=True)
            latency = 0
        if args.plan:
            return plan(args, link, build)
        made = {}
        try:
            for wire in wires:
                command = [str(build / "bench/step/bench-step"), *job, "--wire", wire]
                made[wire, "loopback"] = Contender(command, 2)
                made[wire, "slow"] = Contender(command, 2, None, link.prefix(), link.hosts[0])
            if args.peer:
                command = [python, str(ROOT / "bench/step/pipelining.py"), *job]
                made["peer", "loopback"] = Contender(command, 2, KEEP)
                made["peer", "slow"] = Contender(command, 2, {**KEEP, "GLOO_SOCKET_IFNAME": DEVICE}, link.prefix(),
                                                 link.hosts[0])
            for c in made.values():
                c.run(args.warmup)
            for wire in wires:
                made[wire, "loopback"].run("mark")
            times, others = rounds_in_turn(made, args.rounds, args.steps)
            print(f"other programs used at most {100 * others:.0f} % of the machine in a round")
            predicted = {wire: made[wire, "loopback"].run(f"predict {rate / 8 * PAYLOAD:.0f} {latency}") for wire in wires}
        finally:
            for c in made.values():
                c.end()
    return times, predicted


def plan(args, link, build):
    """Runs pcomp-plan on both ends: it measures the blocks and the link, and checks its predictions."""
    command = [str(build / "apps/plan/pcomp-plan"), "--width", str(args.width), "--batch", str(args.batch),
               "--check", "6"]
    ranks = []
    for rank, prefix in enumerate(link.prefix()):
        own = dict(os.environ, RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR=link.hosts[0], MASTER_PORT="29500")
        ranks.append(subprocess.Popen([*prefix, *command], env=own, stdout=None if rank == 0 else subprocess.DEVNULL))
    if any([p.wait() for p in ranks]):
        stop("pcomp-plan failed; what it said is above")


def show(times, predicted):
    peer = times.get(("peer", "slow"))
    print(f"  {'wire':16} {'loopback':>10} {'slow link':>10} {'predicted':>10}   of loopback" + ("   of the peer" if peer else ""))
    for name in dict.fromkeys(n for n, _ in times):
        loop, slow = times[name, "loopback"], times[name, "slow"]
        line = f"  {'peer, raw' if name == 'peer' else name:16} {1e3 * statistics.median(loop):8.1f}ms {1e3 * statistics.median(slow):8.1f}ms"
        line += f" {1e3 * predicted[name]:8.1f}ms" if name in predicted else " " * 11
        line += f" {statistics.median(s / l for s, l in zip(slow, loop)):13.3f}"
        if peer and name != "peer":
            line += f" {statistics.median(s / p for s, p in zip(slow, peer)):13.3f}"
        print(line)


def main():
    parser = argparse.ArgumentParser(prog="./dev slow-link", description=__doc__)
    parser.add_argument("--rate", default="100mbit", help="link rate in each direction [100mbit]")
    parser.add_argument("--latency", default="0ms", help="one-way latency, if the kernel has netem [0ms]")
    parser.add_argument("--wires", default="raw,quant8,thin", metavar="NAME,...", help="wires to run [raw,quant8,thin]")
    parser.add_argument("--peer", action="store_true", help="also measure torch.distributed.pipelining in the same run")
    parser.add_argument("--plan", action="store_true", help="instead, run pcomp-plan over the link and check "
                        "its predictions")
    parser.add_argument("--width", type=float, default=0.25, metavar="X", help="width of MobileNetV2 [0.25]")
    parser.add_argument("--after", type=int, default=1, metavar="N", help="cut after this block [1]")
    parser.add_argument("--schedule", default="1f1b", choices=["1f1b", "gpipe"])
    parser.add_argument("--batch", type=int, default=64, metavar="N")
    parser.add_argument("--micro-batches", type=int, default=4, metavar="N")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="turns of each contender [6]")
    parser.add_argument("--steps", type=int, default=1, metavar="N", help="steps per turn [1]")
    parser.add_argument("--warmup", type=int, default=2, metavar="N", help="steps before the first turn [2]")
    parser.add_argument("--json", default="", metavar="FILE", help="write every round's seconds to FILE")
    args = parser.parse_args()
    rate = number(args.rate, {"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}, "--rate")
    latency = number(args.latency, {"": 1e-3, "us": 1e-6, "ms": 1e-3, "s": 1}, "--latency")
    if rate < 1e4:
        stop(f"--rate {args.rate}: expected at least 10kbit")
    if os.geteuid() != 0:
        stop("network namespaces need root: sudo ./dev slow-link")
    for program in ("ip", "tc"):
        if not shutil.which(program):
            stop(f"there is no {program}: apt-get install iproute2")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    build = (ROOT / os.environ.get("PCOMP_BUILD", "build/release")).resolve()
    build_program(build, "pcomp-plan" if args.plan else "bench-step")
    if args.plan:
        return measure(args, rate, latency, build, None)
    python = peers.python(build) if args.peer else None
    print(f"MobileNetV2 of width {args.width} cut behind block {args.after}, batch {args.batch} in {args.micro_batches} "
          f"micro-batches, {args.schedule}, one thread a rank;\n{args.rate} in each direction; medians of {args.rounds} "
          f"rounds of {args.steps} step{'s' * (args.steps > 1)}, all in turn", flush=True)
    times, predicted = measure(args, rate, latency, build, python)
    show(times, predicted)
    if args.json:
        found = {f"{name}, {where}": t for (name, where), t in times.items()}
        pathlib.Path(args.json).write_text(json.dumps({"seconds": found, "predicted": predicted}, indent=1) + "\n")


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
