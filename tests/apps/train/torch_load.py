#!/usr/bin/env python3
"""Reads a checkpoint of the main job with torch.load alone: names, shapes and values; skipped if neither $PCOMP_PYTHON
nor this Python can import torch."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zlib

if (other := os.environ.pop("PCOMP_PYTHON", "")) and shutil.which(other):
    os.execv(shutil.which(other), [other, *sys.argv])
program, libtorch = sys.argv[1:]
sys.path.append(str(pathlib.Path(libtorch).parent))
try:
    import torch
except (ImportError, OSError) as reason:
    print(f"skipped: this Python cannot import the torch in {libtorch}: {reason}")
    sys.exit(77)

with tempfile.TemporaryDirectory() as base:
    run = f"--width 0.05 --images 64 --batch 64 --epochs 1 --threads 1 --cut two --out {base}/run".split()
    subprocess.run([program, *run], check=True, stdout=subprocess.DEVNULL)
    folder = pathlib.Path(base) / "run" / "checkpoint"
    state = {}
    for line in (folder / "manifest").read_text().splitlines():
        word = line.split()
        if word[0] == "file":
            part, name, size, crc = word[1:]
            data = (folder / name).read_bytes()
            assert len(data) == int(size) and zlib.crc32(data) == int(crc, 16), line
            loaded = torch.load(folder / name, weights_only=True)
            if part == "run":
                assert loaded["metrics"].shape == (1, 8) and loaded["metrics"][0, 0] == 1, loaded
            else:
                state |= {key: value for key, value in loaded.items() if "/" not in key}
                momentum = {key: value for key, value in loaded.items() if key.startswith("optimizer/momentum/")}
                assert momentum and all(v.shape == loaded[k.split("/")[-1]].shape for k, v in momentum.items())
    assert state["0.conv1.weight"].shape == (8, 3, 3, 3) and state["20.linear.bias"].shape == (10,), state.keys()
    assert state["0.bn1.num_batches_tracked"] == 4 and len(state) > 300, len(state)
    assert all(torch.isfinite(v).all() for v in state.values())
print(f"torch.load read {len(state)} tensors of the network")
