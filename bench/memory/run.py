#!/usr/bin/env python3
"""Builds and runs bench/memory: what a deep stage needs with and without recomputation, as its process and pcomp see it."""
import os
import socket
import subprocess
import sys

build = os.environ.get("PCOMP_BUILD", "build/release")
subprocess.run(["cmake", "--build", build, "--target", "bench-memory"], check=True, stdout=subprocess.DEVNULL)
print("MB of rank 1, a stage of 24 layers; 8 micro-batches\nschedule keeps    resident   peak_bytes  predicted  one micro-batch", flush=True)
for schedule in ("gpipe", "1f1b"):
    for keeps in ("graph", "payload"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        ranks = [subprocess.Popen([f"{build}/bench/bench-memory", schedule, keeps],
                                  env={**os.environ, "RANK": str(r), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                                       "MASTER_PORT": str(port)}) for r in range(2)]
        if any([p.wait() for p in ranks]):
            sys.exit(f"{schedule}, {keeps}: a rank failed")
