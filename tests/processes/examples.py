#!/usr/bin/env python3
"""Examples as three processes print on every rank what they print alone: examples.py PROGRAM EXPECTED [PROGRAM EXPECTED ...]"""
import pathlib
import sys

from launch import Ranks, expect

words = sys.argv[1:]
for program, expected in zip(words[::2], words[1::2]):
    done = Ranks(program, 3).wait(240)
    for rank, (code, out, err) in done.items():
        expect(code == 0 and out == pathlib.Path(expected).read_text(), f"{program}, rank {rank}: {code}\n{out}{err}")
print(f"{len(words) // 2} examples: three processes print what one prints")
