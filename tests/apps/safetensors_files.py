#!/usr/bin/env python3
"""Files of Python's own safetensors and torch.save, copied by pcomp, and read again by safetensors: the same tensors.

Usage: safetensors_files.py TEST-TORCH. Skipped if neither $PCOMP_PYTHON nor this Python has safetensors and numpy."""
import collections
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

if (other := os.environ.pop("PCOMP_PYTHON", "")) and shutil.which(other):
    os.execv(shutil.which(other), [other, *sys.argv])
try:
    import numpy as np
    from safetensors.numpy import load_file, save_file
except ImportError as reason:
    print(f"skipped: {reason}")
    sys.exit(77)


def copied(folder, path):
    out = folder / "copy.safetensors"
    out.unlink(missing_ok=True)
    subprocess.run([sys.argv[1], "copies the weights*"], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "PCOMP_STATE_FROM": str(path), "PCOMP_STATE_TO": str(out)})
    return load_file(out)


def expect_same(found, expected):
    assert set(found) == set(expected), (sorted(found), sorted(expected))
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        assert found[name].tobytes() == value.tobytes(), name


with tempfile.TemporaryDirectory() as base:
    base = pathlib.Path(base)
    random = np.random.default_rng(1)
    dtypes = ("bool", "uint8", "int8", "int16", "uint16", "float16", "int32", "uint32", "float32", "int64", "uint64", "float64")
    weights = {f"of.{d}": (100 * random.standard_normal((3, 5))).astype(d) for d in dtypes}
    weights |= {"scalar": np.array(2.5, "float32"), "empty": np.zeros((0, 4), "float32"), "größe \"x\"": np.ones(7, "int8")}
    save_file(weights, base / "numpy.safetensors", metadata={"format": "np"})
    expect_same(copied(base, base / "numpy.safetensors"), weights)
    print(f"{len(weights)} tensors of safetensors", end="")
    try:
        import torch
    except (ImportError, OSError) as reason:
        print(f"; torch.save not tried: {reason}")
        sys.exit(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2).half())
    torch.save(net.state_dict(), base / "net.pt")
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    expect_same(copied(base, base / "net.pt"), state)
    torch.save(collections.OrderedDict(a=torch.arange(6).view(2, 3).t()), base / "turned.pt")
    expect_same(copied(base, base / "turned.pt"), {"a": np.arange(6).reshape(2, 3).T})
    print(f", {len(state) + 1} of torch.save")
