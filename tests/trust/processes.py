#!/usr/bin/env python3
"""What must not go wrong without a word between processes, a row of the issue's table at a time."""
import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "processes"))
from launch import Ranks, expect, free_port

program = sys.argv[1]
only = sys.argv[2] if len(sys.argv) > 2 else ""
for name in ("PCOMP_INTERFACE", "GLOO_SOCKET_IFNAME", "PCOMP_RUN_ID", "LOCAL_WORLD_SIZE"):
    os.environ.pop(name, None)
pool = concurrent.futures.ThreadPoolExecutor(3)
waiting = []


def later(what, test, *args, **how):
    """Runs a test beside others; its failure names it."""
    if only not in what:
        return
    def task():
        try:
            test(*args, **how)
        except SystemExit as e:
            raise AssertionError(f"{what}: {e}") from None
    waiting.append(pool.submit(task))


def ranks(*calls, options=(), **how):
    """One process for each entry of `calls`."""
    return Ranks(program, len(calls), *options, each=[[f"calls={c}"] for c in calls], **how)


def works(done):
    for rank, (code, _, err) in done.items():
        expect(code == 0, f"rank {rank} ends with {code}\n{err}")
    return done


def fails(done, *parts, alike=True):
    """Every rank ends with the same one line, which contains all of `parts`."""
    for rank, (code, _, err) in done.items():
        expect(code == 1 and err.startswith("pcomp: ") and "Exception raised" not in err, f"rank {rank}: {code} {err}")
        for part in parts:
            expect(re.search(part, err), f"rank {rank} does not say '{part}':\n{err}")
    expect(not alike or len({err for _, _, err in done.values()}) == 1, f"the ranks differ: {done}")


def facts(text):
    return sorted({line for line in text.splitlines() if line != "connected" and not line.startswith("report")})


def alone(calls, *options, code=0):
    done = subprocess.run([program, "mode=threads", f"calls={calls}", *options], capture_output=True, text=True, timeout=120)
    expect(done.returncode == code, f"{calls}: {done.returncode} {done.stderr}")
    return done.stdout if code == 0 else done.stderr


# What threads do, processes do: losses, metrics, norms, sums, gradients and weights, to the last bit.
LONG = ("step,clip:0.1,optimise,step:6:8,clip:0.5:inf,optimise,evaluate,evaluate:5:3,infer,step,clip:0.2:1,optimise,sum,"
        "freeze:1,step,clip:0.1,optimise,rewire:raw,step:1:4,clip:100")


def same(placement):
    options = (f"placement={placement}", "micros=1" if placement == "0123" else "micros=2")
    calls = LONG if placement == "0123" else LONG.replace("step:1:4", "step:3:4")
    expected = facts(alone(calls, *options))
    done = works(ranks(*[calls + ",report"] * len(set(placement)), options=options).wait(120))
    came = facts("".join(out for _, out, _ in done.values()))
    expect(came == expected, f"processes differ: {sorted(set(came) ^ set(expected))[:10]}")
    for rank, (_, out, _) in done.items():
        for line in out.splitlines():
            word = line.split()
            if word[0] == "report":
                expect(word[5] == word[6], f"bytes and prediction differ: {line}")
        for what in ("loss ", "norm ", "right ", "sum ", "output "):
            first = [line for line in done[0][1].splitlines() if line.startswith(what)]
            expect(first and [line for line in out.splitlines() if line.startswith(what)] == first, f"rank {rank}: {what}")


def clip_as_torch():
    for norm in ("0.1", "0.1:inf", "0.3:1", "0.1:0", "100"):
        calls = f"step,clip:{norm},optimise,step"
        expect(facts(alone(calls)) == facts(alone(calls.replace("clip", "torch-clip"))), f"clip:{norm}")


for placement in ("0011", "0120", "0123"):
    later(f"same {placement}", same, placement)
later("clip as torch", clip_as_torch)


# Rank 0 makes another call than rank 1.
def differ(calls, *parts, options=(), seconds=25):
    done = ranks(*calls, options=("timeout=60000", *options)).wait(55)
    fails(done, *parts)
    return done


ORDER = "every rank must make the same calls in the same order"
INFERS, TRAINS = r"rank 0 infers \(call 3\)", r"rank 1 trains \(call 3\)"


def once_more():
    done = ranks("step,infer,infer,step,step", "step,infer,step,step", options=("timeout=60000",)).wait(55)
    fails(done, INFERS, TRAINS, ORDER)
    for rank, (_, out, _) in done.items():
        expect(out.count("loss ") == 1 and out.count("output ") == 1, f"rank {rank} went on: {out}")


later("infers once more", once_more)
for a, b, parts in (
        ("step,infer", "step,evaluate", (r"rank 0 infers \(call 2\)", r"rank 1 evaluates \(call 2\)")),
        ("step,step", "step,evaluate", (r"rank 0 trains \(call 2\)", r"rank 1 evaluates \(call 2\)")),
        ("step,step", "step,clip", (r"rank 0 trains \(call 2\)", r"rank 1 clips the gradients \(call 2\)")),
        ("step,sum,step", "step,step,sum", (r"rank 0 sums \(call 2\)", r"rank 1 trains \(call 2\)")),
        ("step,rewire:raw,step", "step,step", (r"rank 0 rewires \(call 2\)", r"rank 1 trains \(call 2\)")),
        ("step,freeze:1", "step,rewire:raw", (r"rank 0 freezes \(call 2\)", r"rank 1 rewires \(call 2\)")),
        ("exchange:a", "exchange:b", (r"rank 0 exchanges the a \(call 1\)", r"rank 1 exchanges the b \(call 1\)")),
        ("step,report", "step,exchange:a", (r"rank 0 adds up the reports \(call 2\)", r"rank 1 exchanges the a")),
        ("sum-of:2", "sum-of:3", (r"rank 0 sums \(call 1\) on Float \[2\]", r"rank 1 sums \(call 1\) on Float \[3\]")),
        ("step,clip:1", "step,clip:2", (r"rank 0 clips the gradients \(call 2\) on norm 2 to at most 1",)),
        ("step,step:4,step,step", "step,step:4,step:4,step",
         (r"rank 0 trains \(call 3\) on Float 8x16", r"rank 1 trains \(call 3\) on Float 4x16")),
        ("infer,infer-last,step", "infer,infer,step", (r"rank 0 infers \(call 2\) on .* for the last stage's rank",)),
        ("step,eval,step", "step,step", (r"rank 0 trains \(call 2\) on Float 8x16, in eval mode, rank 1 trains",)),
        ("eval,infer,train,step", "eval,infer,step", (r"rank 1 trains \(call 2\) on Float 8x16, in eval mode",)),
        ("step,step:4", "step,infer:4", (r"rank 0 trains \(call 2\)", r"rank 1 infers \(call 2\)"))):
    later(f"calls {a} and {b}", differ, (a, b), *parts, ORDER)
later("eval on all ranks", lambda: works(ranks(*["eval,infer,train,step"] * 2).wait(55)))
later("calls of three ranks", differ, ("infer-last,infer-last", "infer-last,infer-last", "infer-last,step"), "rank 2 trains",
      "rank 1 infers", ORDER, options=("placement=0012",))
later("a rank that refuses", differ, ("step,freeze:4", "step,freeze:4"), "pcomp: rank [01]: ")


def ended():
    """Rank 1 has made its calls and gone."""
    done = ranks("step,infer,infer", "step,infer", options=("timeout=60000",)).wait(55)
    fails({0: done[0]}, r"rank 0 infers \(call 3\), rank 1 infers \(call 2\) and has no pipeline any more", ORDER)
    works({1: done[1]})


def between_calls():
    """Rank 1 does something else for longer than the limit."""
    done = ranks("step,step", "step,sleep:9000,step", options=("timeout=2500",)).wait(55)
    fails(done, r"waited 2500 ms for rank 1", r"rank 0 trains \(call 2\), rank 1 trains \(call 1\) and has returned from it")


def saves_and_loads():
    with tempfile.TemporaryDirectory() as folder:
        fails(ranks(f"step,save:{folder},step", "step,step").wait(55), r"rank 0 saves a checkpoint \(call 2\)", "rank 1 trains", ORDER)
        fails(ranks(f"step,save:{folder},load:{folder},step", f"step,save:{folder},step").wait(55),
              r"rank 0 loads a checkpoint \(call 3\)", r"rank 1 trains \(call 3\)", ORDER)


later("ended", ended)
later("between calls", between_calls)
later("saves and loads", saves_and_loads)


# The ranks of the first and of the last stage are given different batches.
OTHERS = "have drawn different batches"
for what, a, b, ok in (
        ("other targets", "step,step:8:5", "step,step:8:6", False),
        ("other real targets", "step-real:8:5", "step-real:8:6", False),
        ("other samples", "step-ids:8:7:0", "step-ids:8:7:1", False),
        ("evaluated on other targets", "evaluate:8:5", "evaluate:8:6", False),
        ("targets with other rounding", "step-real:8:5", "step-near:8:5", True),
        ("targets where only samples must be the same", "step-ids:8:7:2", "step-ids:8:7:2", True),
        ("no targets on rank 0", "step,step-no-targets", "step,step", True),
        ("targets of another shape on rank 0", "step-other-targets", "step", True),
        ("x without values on rank 1", "step", "step-no-x", True)):
    later(f"batch: {what}", lambda a, b, ok: works(ranks(a, b).wait(55)) if ok else fails(ranks(a, b).wait(55), OTHERS, "rank 1, stage 3"),
          a, b, ok)


# The norm of all gradients is not finite: as in torch, or an error on every rank that leaves them alone.
def not_finite():
    calls = "step,poison:0:nan,clip:0.1:2:strict"
    fails(ranks(calls, calls).wait(55), "the norm of the gradients is nan, first in stage 0")
    calls = "step,poison:3:inf,clip:0.1"
    expected = facts(alone(calls))
    came = facts("".join(out for _, out, _ in works(ranks(calls, calls).wait(55)).values()))
    expect(came == expected and any(line.startswith("norm inf") for line in came), f"{came}\n{expected}")


later("a norm that is not finite", not_finite)


# Outputs reach only the ranks that ask for them, and all bytes are in the report.
def outputs():
    calls = "infer,infer-last,infer-on:8:7:0,evaluate,step,report"
    done = works(ranks(*[calls] * 3, options=("placement=0012",)).wait(55))
    for rank, number in ((0, 2), (1, 1), (2, 3)):
        expect(done[rank][1].count("output ") == number, f"rank {rank}: {done[rank][1]}")
    lines = set(done[1][1].splitlines())
    expect("report rank 2 outputs 3 384 384" in lines, f"{lines}")  # 8 x 4 floats: twice, then once
    expect("report rank 2 losses 4 144 144" in lines, f"{lines}")  # 2 numbers of 2 micro-batches and 2 types; 1 number
    expect("report rank 0 agreement 12 1216 1216" in lines, f"{lines}")


later("outputs", outputs)


# MASTER_ADDR is a name that leads to this machine alone; a number that is no address stands for /etc/hosts.
def loopback():
    name = {"MASTER_ADDR": "0x7f000101"}
    begin = time.monotonic()
    done = ranks("step", "step", env=name, options=("timeout=50000",)).wait(30)
    fails(done, "MASTER_ADDR=0x7f000101 is 127.0.1.1", "PCOMP_INTERFACE", alike=False)
    expect(time.monotonic() - begin < 30, "not at once")
    works(ranks("step", "step", env={**name, "PCOMP_INTERFACE": "lo"}).wait(55))
    works(ranks("step", "step", env={**name, "LOCAL_WORLD_SIZE": "2"}).wait(55))
    fails(ranks("step", "step", env={"LOCAL_WORLD_SIZE": "1"}).wait(30), "MASTER_ADDR=127.0.0.1 leads to no other machine", "only 1 of",
          alike=False)


later("loopback", loopback)


# Two runs meet at one port.
def started(job, rank, word="connected"):
    """Waits until a rank prints a word."""
    for line in job[rank].stdout:
        if line.strip() == word:
            return
    expect(False, f"rank {rank} does not say {word}: {job[rank].stderr.read()}")


def one(rank, size, port, calls="step", **env):
    return Ranks(program, size, f"calls={calls}", "timeout=30000", only=[rank], port=port, env=env)


def listens(port):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if f":{port:04X} 00000000:0000 0A" in pathlib.Path("/proc/net/tcp").read_text():
            return time.sleep(0.3)  # until it says whose store it is
        time.sleep(0.05)
    expect(False, f"nobody listens on {port}")


def second_job():
    """A run that is complete goes on; the processes of a second one, also one rank started again, are told."""
    with tempfile.TemporaryDirectory() as base:
        second_job_beside(free_port(), pathlib.Path(base, "go"))


def second_job_beside(port, go):
    first = ranks(*[f"step,say:ready,until:{go},step"] * 2, port=port)
    started(first, 0, "ready")
    time.sleep(0.2)
    guests = [one(0, 2, port), one(1, 2, port), one(1, 3, port), one(1, 2, port, PCOMP_RUN_ID="b")]
    pid = first[0].pid
    fails(guests[0].wait(40), "the port is in use, by a run of 2 processes", f"process {pid} on", "MASTER_PORT")
    fails(guests[1].wait(40), "another process of this run is rank 1 already", f"process {first[1].pid} on", "MASTER_PORT")
    fails(guests[2].wait(40), "belongs to another run", "a run of 2 processes", "this one a run of 3", f"process {pid} on")
    fails(guests[3].wait(40), "belongs to another run", "without a name", "named 'b'")
    go.touch()
    works(first.wait(60))


def guest_first():
    """The guest comes before the run's own rank."""
    for size, env, guest in ((3, {}, {}), (2, {"PCOMP_RUN_ID": "a"}, {"PCOMP_RUN_ID": "b"}),
                             (2, {"TORCHELASTIC_RUN_ID": "a"}, {"TORCHELASTIC_RUN_ID": "b"})):
        port = free_port()
        host = one(0, 2, port, **env)
        listens(port)
        fails(one(1, size, port, **guest).wait(40), "belongs to another run", "MASTER_PORT")
        own = one(1, 2, port, **env)
        works(own.wait(40)), works(host.wait(40))


def together():
    """Nothing tells the two runs apart: no mixture of them trains."""
    port = free_port()
    with tempfile.TemporaryDirectory() as base:
        calls = f"step,until:{base}/go,step"
        jobs = [one(rank, 2, port, calls) for rank in (0, 1, 0, 1)]
        time.sleep(1)
        end = time.monotonic() + 60
        while sum(list(job.processes.values())[0].poll() is None for job in jobs) > 2 and time.monotonic() < end:
            time.sleep(0.1)  # until the two that found no place have ended
        pathlib.Path(base, "go").touch()
        said = [list(job.wait(60).values())[0] for job in jobs]
    expect(all(code == 1 for code, _, _ in said), f"{said}")
    expect(all("MASTER_PORT" in err and err.startswith("pcomp: ") for _, _, err in said), f"{said}")


later("a second job", second_job)
later("a guest comes first", guest_first)
later("two jobs together", together)


# Two pipelines save into one folder.
def folder():
    with tempfile.TemporaryDirectory() as base:
        path = f"{base}/checkpoint"
        first = subprocess.Popen([program, "mode=threads", f"calls=step,save:{path},say:saved,sleep:60000"], stdout=subprocess.PIPE, text=True)
        try:
            while first.stdout.readline().strip() != "saved":
                expect(first.poll() is None, "the first run ends")
            manifest = pathlib.Path(path, "manifest").read_text()
            held = (f"cannot save into {re.escape(path)}: it is in use by process {first.pid} on",)
            fails(ranks(f"step,save:{path}", f"step,save:{path}").wait(55), *held)
            expect(re.search(held[0], alone(f"step,save:{base}/./checkpoint", code=1).replace("/./", "/")), "another process")
            expect(pathlib.Path(path, "manifest").read_text() == manifest, "the manifest has changed")
        finally:
            first.send_signal(signal.SIGKILL)
            first.wait()
        alone(f"step,save:{path},save:{path},end,new,step,save:{path}")  # a killed process holds nothing, nor an ended engine
        said = alone(f"step,save:{path},second,step,save:{path}", code=1)
        expect("this one, for another pipeline" in said and path in said, said)
        expect(not pathlib.Path(path, "in-use").exists(), "the file of the lock stays")


later("one folder", folder)

failed = []
for task in waiting:
    try:
        task.result()
    except AssertionError as e:
        failed.append(str(e))
if failed:
    sys.exit("\n\n".join(failed))
print(f"{len(waiting)} cases between processes: an error that says what is wrong on every rank, or what threads compute")
