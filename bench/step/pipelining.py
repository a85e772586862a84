"""One rank of torch.distributed.pipelining over Gloo: the same job as bench-step; RANK and MASTER_* as torchrun sets them."""
import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

import network
import turns

args = turns.job(schedule=("1f1b", ["gpipe", "1f1b"]))
dist.init_process_group("gloo")
rank = dist.get_rank()
module = network.stages(args.width, args.after)[rank]
stage = PipelineStage(module, rank, 2, torch.device("cpu"))
kind = Schedule1F1B if args.schedule == "1f1b" else ScheduleGPipe
schedule = kind(stage, args.micro_batches, loss_fn=F.cross_entropy)
x, y = turns.batch(args)


def step():
    module.zero_grad(set_to_none=True)
    schedule.step(x) if rank == 0 else schedule.step(target=y, losses=[])


turns.take(step)
os._exit(0)  # the other rank may be gone
