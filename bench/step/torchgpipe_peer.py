"""torchgpipe 0.0.7 in one process, two partitions on the CPU: the same job as bench-step over Threads."""
import torch.nn.functional as F
from torch import nn
from torchgpipe import GPipe

import network
import turns

args = turns.job(checkpoint=("never", None))
first, second = network.stages(args.width, args.after)
model = GPipe(nn.Sequential(first, second), balance=[1, 1], devices=["cpu", "cpu"], chunks=args.micro_batches,
              checkpoint=args.checkpoint)
x, y = turns.batch(args)


def step():
    model.zero_grad(set_to_none=True)
    F.cross_entropy(model(x), y).backward()


turns.take(step)
