"""torchgpipe 0.0.7 in one process, two partitions on the CPU: the same job as bench-step over Threads."""
import argparse
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torchgpipe import GPipe

import network

parser = argparse.ArgumentParser()
parser.add_argument("--width", type=float, default=1)
parser.add_argument("--after", type=int, default=6)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--micro-batches", type=int, default=4)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--checkpoint", default="never")
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.manual_seed(1)
first, second = network.stages(args.width, args.after)
model = GPipe(nn.Sequential(first, second), balance=[1, 1], devices=["cpu", "cpu"], chunks=args.micro_batches,
              checkpoint=args.checkpoint)
x, y = torch.randn(args.batch, 3, 32, 32), torch.randint(10, (args.batch,))
for line in sys.stdin:
    steps = int(line)
    start = time.perf_counter()
    for _ in range(steps):
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
    print((time.perf_counter() - start) / steps, flush=True)
