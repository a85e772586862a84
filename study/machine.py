"""What this machine is and how many runs it can take."""
import functools
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
DRAWINGS = "drawings"  # what the program generates where there is no CIFAR-10
BUSY = 2  # cores that one run of four ranks keeps busy, given the bubble and stages of unequal cost
PEAK_MB = {"smoke": 500, "quick": 1100, "seed": 24000}  # until a finished run says better; seed's is an estimate


def git(*words):
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit():
    """The commit the program is built from; with '-changed' if its sources have uncommitted changes."""
    sources = ("include", "apps/train", "CMakeLists.txt", "cmake")
    changed = git("status", "--porcelain", "--", *sources)
    return (git("rev-parse", "--short=7", "HEAD") or "unknown") + ("-changed" if changed else "")


@functools.cache
def processor():
    name = "a processor without a name"
    for line in open("/proc/cpuinfo"):
        if line.startswith(("model name", "Model")):
            name = line.split(":", 1)[1].strip()
            break
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def on_gpu(job):
    return "cuda" in job.options


@functools.cache
def graphics():
    try:
        told = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout
    except OSError:
        told = ""
    return told.splitlines()[0].strip() if told.strip() else "a GPU without a name"


def this_machine(job):
    """The hardware that computes the job here, and how many such runs at once keep it busy."""
    if on_gpu(job):
        return f"{graphics()}; {processor()}", 1
    return processor(), max(1, len(os.sched_getaffinity(0)) // BUSY)


def images(data):
    """What a run trains on here and where it is, following the program's own search order (docs/train.md)."""
    for folder in (data, os.environ.get("PCOMP_CIFAR10")):
        if folder:
            return "CIFAR-10", folder
    here = any(os.path.exists(f"data/{name}") for name in ("test_batch.bin", "cifar-10-batches-bin"))
    return ("CIFAR-10", "data") if here else (DRAWINGS, "")


def available_mb():
    for line in open("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 1 << 30


def at_once(jobs, done):
    """How many runs at once the cores, the memory and the GPU can take."""
    most = max((done.peak_mb(recipe) or PEAK_MB.get(recipe, 1100)) for recipe in {job.recipe for job in jobs})
    return max(1, min(*(this_machine(job)[1] for job in jobs), int(0.9 * available_mb() / most)))
