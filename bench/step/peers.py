"""A Python with torch.distributed.pipelining and torchgpipe, in a virtual environment in the build folder."""
import os
import pathlib
import subprocess
import sys
import venv

SMALL = ["filelock", "typing_extensions", "sympy", "networkx", "jinja2", "fsspec", "numpy", "setuptools<82"]
# What libtorch_python loads even without a GPU; PyPI has no wheel without CUDA.
CUDA = ["cuda-toolkit[cublas,cudart,cufft,cufile,cupti,curand,cusolver,cusparse,nvjitlink,nvrtc]==13.0.2",
        "nvidia-cudnn-cu13==9.19.0.56", "nvidia-cusparselt-cu13==0.8.0", "nvidia-nccl-cu13==2.28.9",
        "nvidia-nvshmem-cu13==3.4.5"]
PEERS = ["torchgpipe==0.0.7"]
CHECK = "import torch, torch.distributed.pipelining, torchgpipe; print(torch.__version__, torch.__file__)"


def libtorch(build):
    for line in (build / "CMakeCache.txt").read_text().splitlines():
        if line.startswith("LibTorch_ROOT:"):
            return pathlib.Path(line.split("=", 1)[1])
    sys.exit("bench step: the build does not say where its LibTorch is")


def python(build):
    """Both sides run on the same libtorch_cpu: the environment imports the torch that the build links."""
    folder = build / "peers-python"
    program = folder / "bin" / "python"

    def works():
        return program.exists() and not subprocess.run([program, "-c", CHECK], capture_output=True).returncode

    if not works():
        print(f"installing the peers into {folder}, once (2 GB: the torch of PyPI loads CUDA's libraries)", flush=True)
        venv.create(folder, with_pip=True)
        site = next((folder / "lib").glob("python*")) / "site-packages"
        (site / "libtorch.pth").write_text(f"{libtorch(build).parent}\n")
        pip = [program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        for words in (SMALL, CUDA, ["--no-deps", *PEERS]):
            if subprocess.run([*pip, *words]).returncode:
                sys.exit(f"bench step: pip could not install {' '.join(words)}")
        if not works():
            subprocess.run([program, "-c", CHECK])
            sys.exit(f"bench step: {program} cannot import the peers")
    return str(program)
