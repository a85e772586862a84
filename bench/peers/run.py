#!/usr/bin/env python3
"""The same jobs done by eager LibTorch, FBGEMM, bitsandbytes, zstd, lz4 and pcomp in turn; --help lists the options."""
import os
import pathlib
import subprocess
import sys
import zipfile

BITSANDBYTES = "bitsandbytes==0.50.2"
FILE = "bitsandbytes/libbitsandbytes_cpu.so"


def bitsandbytes(folder):
    """The library from the wheel, downloaded once (43 MB); if that fails, prints why and returns None."""
    if not (folder / FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"fetching {BITSANDBYTES} into {folder}", flush=True)
        python = ".venv/bin/python" if os.path.exists(".venv/bin/python") else sys.executable
        got = subprocess.run([python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                              "--only-binary=:all:", "--dest", str(folder), BITSANDBYTES],
                             capture_output=True, text=True)
        wheels = list(folder.glob("bitsandbytes-*.whl"))
        if got.returncode or not wheels:
            print(f"left out: {BITSANDBYTES} could not be fetched: {got.stderr.strip().splitlines()[-1:]}")
            return None
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extract(FILE, folder)
        wheels[0].unlink()
    return folder / FILE


build = os.environ.get("PCOMP_BUILD", "build/release")
subprocess.run(["cmake", build], check=True, stdout=subprocess.DEVNULL)  # finds a library installed since
made = subprocess.run(["cmake", "--build", build, "--target", "bench-peers", "-j1"], capture_output=True, text=True)
if made.returncode:
    sys.exit(made.stdout + made.stderr)
arguments = sys.argv[1:]
if not {"-h", "--help", "--bitsandbytes"} & set(arguments):
    library = bitsandbytes(pathlib.Path(build) / "peers")
    arguments += ["--bitsandbytes", str(library)] if library else []
sys.exit(subprocess.run([f"{build}/bench/peers/bench-peers", *arguments],
                        env={**os.environ, "OMP_WAIT_POLICY": "active"}).returncode)
