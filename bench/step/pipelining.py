"""One rank of torch.distributed.pipelining over Gloo: the same job as bench-step; RANK and MASTER_* as torchrun sets them."""
import argparse
import os
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

import network

parser = argparse.ArgumentParser()
parser.add_argument("--width", type=float, default=1)
parser.add_argument("--after", type=int, default=6)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--micro-batches", type=int, default=4)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--schedule", choices=["gpipe", "1f1b"], default="1f1b")
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.manual_seed(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
module = network.stages(args.width, args.after)[rank]
stage = PipelineStage(module, rank, 2, torch.device("cpu"))
kind = Schedule1F1B if args.schedule == "1f1b" else ScheduleGPipe
schedule = kind(stage, args.micro_batches, loss_fn=F.cross_entropy)
x, y = torch.randn(args.batch, 3, 32, 32), torch.randint(10, (args.batch,))
for line in sys.stdin:
    steps = int(line)
    start = time.perf_counter()
    for _ in range(steps):
        module.zero_grad(set_to_none=True)
        schedule.step(x) if rank == 0 else schedule.step(target=y, losses=[])
    print((time.perf_counter() - start) / steps, flush=True)
os._exit(0)  # the other rank may be gone
