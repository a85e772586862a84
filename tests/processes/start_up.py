#!/usr/bin/env python3
"""Whatever goes wrong before the first step is one clear error on every rank, and soon."""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from signal import SIGKILL, SIGSTOP

from launch import Ranks, expect, free_port, listening

program = sys.argv[1]
show = "--show" in sys.argv


def check(what, ranks, *parts, limit=15, seconds=8, alike=False, of=None):
    """Checks that every rank ends with an error that contains all of `parts`, and of a type."""
    done = ranks.wait(limit)
    for rank, (code, out, err) in done.items():
        if show and rank == list(done)[0]:
            print(f"--- {what} ({ranks.seconds:.1f} s)\n{err}", end="")
        expect(code == 1, f"{what}: rank {rank} ends with {code}\n{err}")
        expect(err.startswith("pcomp: ") and "\n  #" not in err and "Exception raised" not in err, f"{what}: {err}")
        for part in parts:
            expect(part in err, f"{what}: rank {rank} does not say '{part}':\n{err}")
        if of:
            expect(out.splitlines()[-1].startswith(of), f"{what}: rank {rank} throws no {of}, but {out}")
    if alike:
        expect(len({err for _, _, err in done.values()}) == 1, f"{what}: {done}")
    expect(ranks.seconds < seconds, f"{what} took {ranks.seconds:.1f} s")


def differ(what, options, *parts, all_of=()):
    """Starts rank 1 with other options than ranks 0 and 2."""
    each = [["placement=01210", *all_of]] * 3
    each[1] = each[1] + options
    check(what, Ranks(program, 3, "mode=drill", "timeout=20000", each=each), "the ranks do not agree: rank 1 differs from rank 0",
          *parts, alike=True, of="Mismatch rank -1")


differ("another wire", ["wire=quant"], "* wire 1", "Quant<4> / Quant<8>", "  schedule  ")
differ("another schedule", ["schedule=gpipe"], "* schedule", "1F1B", "GPipe", "* rows")
differ("another placement", ["placement=01211"], "* placement", "0 1 2 1 0", "0 1 2 1 1")
differ("other micro-batches", ["micros=3"], "* micro-batches")
differ("other frozen stages", ["freeze=2"], "* frozen stages", "* rows", "  wire 0", all_of=["freeze=1"])
differ("another batch", ["batch=12"], "* batch", "Float 8x3x9x7", "Float 12x3x9x7", "* boundary 0", "bytes, back")

# The cases that wait for a time limit run at the same time.
port, deaf = free_port(), socket.socket()
deaf.bind(("127.0.0.1", 0))
deaf.listen()
taken = deaf.getsockname()[1]
together = []


def later(what, size, parts, *options, of=None, **how):
    together.append((what, Ranks(program, size, "mode=drill", *(options or ["timeout=4000"]), **how), parts, of))


later("too few processes", 2, ["the schedule has 4 ranks, but torchrun started 2 processes"], "timeout=20000", of="Mismatch")
later("a missing rank", 4, ["waited 4000 ms for rank 2, the time limit"], only=[0, 1, 3], of="Timeout rank 2 stage -1")
later("missing ranks", 4, ["for ranks 2, 3, the time limit"], by="srun", only=[0, 1], of="Timeout rank 2")
later("no store", 2, ["rank 1 cannot reach the store at 127.0.0.1:", "within 4000 ms"], only=[1], of="Timeout rank 0")
later("a store that never answers", 2, ["rank 1 cannot reach the store at 127.0.0.1:", "it does not answer"], only=[1], port=taken)
later("a port in use", 2, [f"rank 0 cannot keep the store at 127.0.0.1:{taken}: the port is in use"], only=[0], port=taken)
for env, reason in (({"MASTER_ADDR": "no.such.machine.invalid"}, "there is no machine 'no.such.machine.invalid'"),
                    ({"MASTER_ADDR": "192.0.2.1"}, "this is no address of its machine"),
                    ({"MASTER_PORT": "many"}, "MASTER_PORT=many: expected a number from 1 to 65535")):
    later(str(env), 2, [reason], only=[0], env=env)
later("a wrong interface", 2, ["listens on 192.0.2.1 and cannot connect to every other rank"], "timeout=2500", "placement=01010",
      env={"PCOMP_INTERFACE": "192.0.2.1"})
twice = [Ranks(program, 3, "mode=drill", "timeout=4000", "placement=01210", only=[r], port=port) for r in (0, 1, 1)]
for what, ranks, parts, of in together:
    check(what, ranks, *parts, limit=30, seconds=30, of=of)
errors = [ranks.wait(15)[rank][2] for ranks, rank in zip(twice, (0, 1, 1))]
expect(any("another process of this run is rank 1 already" in e for e in errors[1:]), f"{errors}")
expect("waited 4000 ms for rank 2" in errors[0], errors[0])

for env, reason in (({"WORLD_SIZE": "2"}, "RANK, which says which one this is, is not set"),
                    ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2: expected a number from 0 to 1"),
                    ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_NTASKS_PER_NODE": "2"}, "set MASTER_ADDR")):
    done = subprocess.run([program, "mode=drill"], env={"PATH": "/usr/bin", **env}, capture_output=True, text=True)
    expect(done.returncode == 1 and reason in done.stderr, f"{env}: {done.stderr}")
done = subprocess.run([program, "mode=drill"], env={"PATH": "/usr/bin", "WORLD_SIZE": "1", "RANK": "0"}, capture_output=True, text=True)
expect(done.returncode == 0 and "end" in done.stdout, "one process alone: threads")
check("a stage that cannot be built", Ranks(program, 4, "mode=drill", "unbuilt=1"), "pcomp: rank 1: no room for this stage", alike=True)
check("an exception", Ranks(program, 4, "mode=drill", "wire=broken"), ", RecvGrad: this decoder is out of order", alike=True)
with tempfile.TemporaryDirectory() as folder:
    check("a save", Ranks(program, 2, "mode=save", "placement=01010", f"folder={folder}"), "'best' is undefined", alike=True)

with tempfile.TemporaryDirectory() as folder:
    load = ("mode=load", "placement=01010", f"file={folder}/weights")
    written = subprocess.run([program, *load], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    done = Ranks(program, 2, *load).wait(60)
    loaded = sorted(line for _, out, _ in done.values() for line in out.splitlines())
    expect(len(loaded) > 4 and loaded == sorted(written.stdout.splitlines()), f"weights of a file: {written}, {done}")
    again = Ranks(program, 2, "mode=load", "placement=01010", f"file={folder}/weights.again").wait(60)
    saved = sorted(line for _, out, _ in again.values() for line in out.splitlines())
    expect(saved == loaded, f"weights that processes wrote: {again}")
    check("another network's weights", Ranks(program, 2, *load, "others=1"),
          "'of0.conv.weight' is missing", "'of1.norm.bias' is missing", "'4.linear.bias' is in no stage", alike=True)

ranks = Ranks(program, 2, "mode=drill", "placement=01010", "steps=1000000")
for rank in (0, 1):
    ranks[rank].stdout.readline()  # a step is over
    found = listening(ranks[rank].pid)
    expect(found == {"0100007F"}, f"rank {rank} listens on {found}, not on 127.0.0.1 alone")
ranks[0].kill()
ranks.wait()

# A program can tell what happened: every other rank throws the same type, with the same numbers in it.
for what, signal, of in (("a rank is killed", SIGKILL, "PeerLost rank 2 stage "), ("a rank stops", SIGSTOP, "Timeout rank 2 stage ")):
    ranks = Ranks(program, 4, "mode=drill", "placement=01230", "steps=1000000", "timeout=3000")
    for rank in range(4):
        ranks[rank].stdout.readline()  # a step is over
    ranks[2].send_signal(signal)
    ends = {rank: ranks[rank].communicate(timeout=30)[0].splitlines()[-1] for rank in (0, 1, 3)}
    ranks[2].kill()
    ranks.wait()
    expect(len(set(ends.values())) == 1 and ends[0].startswith(of) and "-1" not in ends[0], f"{what}: {ends}")

# A rank may be done with its engine while another still connects.
ranks = Ranks(program, 5, "mode=drop", "steps=8", "placement=01234")
for rank, (code, _, err) in ranks.wait(60).items():
    expect(code == 0, f"an engine that is dropped at once: rank {rank}: {err}")

# Name servers that take a question and never answer, as where the network is down: no rank asks them. A file system of
# one's own needs root.
with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
    here = pathlib.Path(folder)
    try:
        silent.bind(("127.5.3.53", 53))
    except OSError:
        silent.close()
    (here / "resolv.conf").write_text("nameserver 127.5.3.53\n")
    deaf = here / "deaf"
    deaf.write_text(f'#!/bin/sh\nexec unshare --mount sh -c \'mount --bind {folder}/resolv.conf /etc/resolv.conf && exec "$0" "$@"\' {program} "$@"\n')
    deaf.chmod(0o755)
    alone = dict(os.environ, WORLD_SIZE="1", RANK="0")
    if silent.fileno() < 0 or subprocess.run([deaf, "mode=drill"], env=alone, capture_output=True).returncode:
        print("no file system of one's own: silent name servers are not tried")
    else:
        ranks = Ranks(str(deaf), 3, "mode=drill", "timeout=4000", "placement=01210")
        for rank, (code, _, err) in ranks.wait(60).items():
            expect(code == 0, f"silent name servers: rank {rank}: {err}")
        silent.setblocking(False)
        try:
            expect(False, f"a rank asks the name servers: {silent.recv(200)}")
        except BlockingIOError:
            pass
print("mistakes at the start: one clear error on every rank")
