#!/usr/bin/env python3
"""pictures.py PROGRAM DOCS: example 040 still draws the pictures in DOCS, and its SVG and JSON are sound."""
import json
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

program, docs = sys.argv[1], pathlib.Path(sys.argv[2])
wrong = []
with tempfile.TemporaryDirectory() as folder:
    subprocess.run([program, folder], check=True, stdout=subprocess.DEVNULL)
    files = sorted(pathlib.Path(folder).iterdir())
    for file in files:
        if file.suffix == ".svg":
            if len(xml.parse(file).getroot()) < 10:
                wrong.append(f"{file.name}: hardly anything is drawn")
            if not (docs / file.name).exists() or (docs / file.name).read_text() != file.read_text():
                wrong.append(f"docs/schedules/{file.name} is not what is drawn now: run {pathlib.Path(program).name} docs/schedules")
            continue
        events = json.loads(file.read_text())["traceEvents"]
        spans = [e for e in events if e["ph"] == "X"]
        flows = {}
        for e in events:
            if e["ph"] in "sf":
                flows.setdefault(e["id"], []).append(e)
        if not spans or any(e["dur"] <= 0 or e["ts"] < 0 for e in spans):
            wrong.append(f"{file.name}: spans without length")
        if not flows or any([e["ph"] for e in f] != ["s", "f"] or f[0]["ts"] > f[1]["ts"] for f in flows.values()):
            wrong.append(f"{file.name}: a message that arrives before it leaves")
        for rank in {e["tid"] for e in spans}:
            lane = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["tid"] == rank)
            if any(a[1] > b[0] + 0.01 for a, b in zip(lane, lane[1:])):
                wrong.append(f"{file.name}: rank {rank} does two things at once")
print(f"{len(files)} files, {len(wrong)} wrong")
sys.exit("\n".join(wrong) if wrong or len(files) < 10 else 0)
