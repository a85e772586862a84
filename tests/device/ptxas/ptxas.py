#!/usr/bin/env python3
"""ptxas.py BOUNDS LOG...: checks `ptxas -v`'s figures for every kernel against bounds; ptxas.py BOUNDS --self-test."""
import collections
import re
import sys

ENTRY = re.compile(r"Compiling entry function '(\S+)' for 'sm_(\d+)a?'\n.*?"
                   r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads\n.*?Used (\d+) registers",
                   re.S)
KERNEL = re.compile(r"3gpu3runINS1_(\d+)")


def kernel_of(mangled):
    length = KERNEL.search(mangled)
    return mangled[length.end():length.end() + int(length.group(1))] if length else mangled


def read_bounds(path):
    bounds = {}
    for line in open(path):
        words = line.split("#")[0].split()
        if words:
            bounds[words[0]] = (int(words[1]), int(words[2]))
    return bounds


def found(log):
    """For each kernel and generation: the number of instances, the most registers and the most bytes spilled."""
    most = collections.defaultdict(lambda: [0, 0, 0])
    for mangled, arch, _, stores, loads, registers in ENTRY.findall(log):
        entry = most[kernel_of(mangled), int(arch)]
        entry[0] += 1
        entry[1] = max(entry[1], int(registers))
        entry[2] = max(entry[2], int(stores) + int(loads))
    return most


def mistakes(bounds, log):
    most = found(log)
    wrong = [] if most else ["ptxas says nothing of any kernel"]
    for (kernel, arch), (_, registers, spilled) in sorted(most.items()):
        if kernel not in bounds:
            wrong.append(f"{kernel} has no bounds: {registers} registers, {spilled} bytes spilled on sm_{arch}")
            continue
        if registers > bounds[kernel][0]:
            wrong.append(f"{kernel} on sm_{arch}: {registers} registers, at most {bounds[kernel][0]}")
        if spilled > bounds[kernel][1]:
            wrong.append(f"{kernel} on sm_{arch}: {spilled} bytes spilled, at most {bounds[kernel][1]}")
    wrong += [f"{kernel} has bounds, but there is no such kernel" for kernel in bounds
              if most and all(kernel != k for k, _ in most)]
    return wrong


def self_test():
    def log(kernel, registers, spilled):
        return (f"ptxas info    : Compiling entry function '_ZN5pcomp6detail3gpu3runINS1_{len(kernel)}{kernel}EEEvT_' for "
                f"'sm_80'\nptxas info    : Function properties for x\n    8 bytes stack frame, {spilled} bytes spill "
                f"stores, 0 bytes spill loads\nptxas info    : Used {registers} registers, used 0 barriers\n")
    bounds = {"Kernel": (40, 8)}
    assert mistakes(bounds, log("Kernel", 40, 8)) == []
    for text, what in ((log("Kernel", 41, 0), "registers"), (log("Kernel", 40, 9), "spilled"), ("", "nothing"),
                       (log("Other", 1, 0) + log("Kernel", 1, 0), "no bounds"), (log("Other", 1, 0), "no such kernel")):
        assert any(what in m for m in mistakes(bounds, text)), what
    print("5 kinds of mistakes are found")


if sys.argv[2] == "--self-test":
    self_test()
elif sys.argv[2] == "none":
    print("skipped: no nvcc that knows sm_80, so no CUDA kernel was compiled")
    sys.exit(77)
else:
    text = "".join(open(log).read() for log in sys.argv[2:])
    for (kernel, arch), (count, registers, spilled) in sorted(found(text).items()):
        print(f"sm_{arch:<4} {kernel:<14} {count:3} instances, at most {registers} registers, {spilled} bytes spilled")
    sys.exit("\n".join(mistakes(read_bounds(sys.argv[1]), text)) or 0)
