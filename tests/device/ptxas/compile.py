#!/usr/bin/env python3
"""compile.py LOG COMMAND...: runs a compiler and writes its output to LOG or, if it fails, to the screen."""
import subprocess
import sys

log, command = sys.argv[1], sys.argv[2:]
done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
if done.returncode:
    sys.exit(done.stdout + " ".join(command))
with open(log, "w") as out:
    out.write(done.stdout)
