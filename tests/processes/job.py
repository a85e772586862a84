"""The options of a small main job, and what its folder holds."""
import pathlib
import re
import zipfile
import zlib

OPTIONS = "--width 0.05 --images 320 --test-images 64 --batch 64 --epochs 3 --threads 1 --wire topk10-quant8".split()
EPOCHS = 3
RANKS = {"two": 2, "edge": 4, "cloud": 4}


def manifest(folder):
    """The checkpoint's manifest as (epoch, files), or None; a torn file is a ValueError, a lost one an OSError."""
    path = pathlib.Path(folder) / "checkpoint" / "manifest"
    if not path.exists():
        return None
    text = path.read_text()
    body, end = text[: text.rindex("end ")], text[text.rindex("end ") + 4 :].strip()
    if zlib.crc32(body.encode()) != int(end, 16):
        raise ValueError(f"{path} is torn")
    files = {}
    for part, name, size, crc in re.findall(r"^file (\S+) (\S+) (\d+) (\w+)$", body, re.M):
        data = (path.parent / name).read_bytes()
        if len(data) != int(size) or zlib.crc32(data) != int(crc, 16):
            raise ValueError(f"{path.parent / name} is torn")
        files[part] = path.parent / name
    return int(re.search(r"^epoch (\d+)$", body, re.M)[1]), files


def weights(folder):
    """Checksums of every tensor of every stage: weights, statistics, momentum, random state."""
    found = {}
    for part, path in manifest(folder)[1].items():
        if part.startswith("stage"):
            with zipfile.ZipFile(path) as file:
                found |= {(part, e.filename): e.CRC for e in file.infolist() if "/data/" in e.filename}
    return found


def results(folder):
    lines = (pathlib.Path(folder) / "metrics.csv").read_text().splitlines()
    return [[row.split(",")[i] for i in (0, 1, 2, 3, 6, 7)] for row in lines]
