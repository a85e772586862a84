"""A Python that has matplotlib: $PCOMP_PLOT_PYTHON, this one, or a virtual environment in the build folder."""
import os
import pathlib
import subprocess
import sys
import venv

WHEELS = ["matplotlib==3.9.2"]
CHECK = "import matplotlib; print(matplotlib.__version__)"


def works(program):
    try:
        return not subprocess.run([program, "-c", CHECK], capture_output=True).returncode
    except OSError:
        return False


def find(build):
    """The first that works, or None; installs nothing."""
    for program in (os.environ.get("PCOMP_PLOT_PYTHON"), sys.executable, str(pathlib.Path(build) / "plot-python/bin/python")):
        if program and works(program):
            return program
    return None


def install(build):
    folder = pathlib.Path(build) / "plot-python"
    program = str(folder / "bin" / "python")
    print(f"plot: installing {' '.join(WHEELS)} into {folder}, once (200 MB)", flush=True)
    try:
        venv.create(folder, with_pip=True, clear=True)
        done = subprocess.run([program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WHEELS])
    except (OSError, subprocess.CalledProcessError) as e:
        sys.exit(f"plot: python3 -m venv {folder} failed ({e}): apt-get install python3-venv, or see below\n{WITHOUT}")
    if done.returncode or not works(program):
        sys.exit(f"plot: pip could not install matplotlib: is the network there?\n{WITHOUT}")
    return program


WITHOUT = ("      Without a network: install Debian's python3-matplotlib, or name a Python that has matplotlib in\n"
           "      PCOMP_PLOT_PYTHON. The tables alone need none of it: ./dev plot --tables")
