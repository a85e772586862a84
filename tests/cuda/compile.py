#!/usr/bin/env python3
"""compile.py LOG COMMAND...: runs a compiler; what it says goes into LOG, or to the screen where it fails."""
import subprocess
import sys

log, command = sys.argv[1], sys.argv[2:]
done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
if done.returncode:
    sys.exit(done.stdout + " ".join(command))
with open(log, "w") as out:
    out.write(done.stdout)
