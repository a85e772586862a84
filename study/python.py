#!/usr/bin/env python3
"""Finds a Python that has the packages of requirements.txt: $PCOMP_PLOT_PYTHON, this one, or a virtual environment."""
import fcntl
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import venv

NEEDED = pathlib.Path(__file__).resolve().parent / "requirements.txt"
FOLDER = NEEDED.parents[1] / "build" / "study-python"
WITHOUT = "without a network, name a Python that has the packages of study/requirements.txt in PCOMP_PLOT_PYTHON"


def install():
    """The Python of the virtual environment, with what requirements.txt says now."""
    program, installed = FOLDER / "bin" / "python", FOLDER / "requirements.txt"
    FOLDER.parent.mkdir(exist_ok=True)
    with open(FOLDER.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two tests may begin at once
        if not installed.exists() or installed.read_text() != NEEDED.read_text():
            print(f"study: installing {', '.join(NEEDED.read_text().split())} into {FOLDER}, once (300 MB)", file=sys.stderr)
            try:
                venv.create(FOLDER, with_pip=True, clear=True)
                subprocess.run([program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", NEEDED],
                               check=True)
            except (OSError, subprocess.CalledProcessError) as e:
                sys.exit(f"study: {e}\nis the network there, and Debian's python3-venv? {WITHOUT}")
            shutil.copy(NEEDED, installed)
    return str(program)


def use():
    """Starts the script again in a Python that has the packages, unless this one has them."""
    if program := os.environ.pop("PCOMP_PLOT_PYTHON", None):  # taken out, so that it is tried once
        try:
            os.execvp(program, [program, *sys.argv])
        except OSError as e:
            sys.exit(f"study: PCOMP_PLOT_PYTHON={program}: {e.strerror}")
    if not all(importlib.util.find_spec(name) for name in ("doit", "matplotlib", "pandas", "rich", "textalloc")):
        program = install()
        os.execv(program, [program, *sys.argv])


if __name__ == "__main__":
    use()
