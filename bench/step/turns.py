"""What the Python peers share: the job's options, and running steps when standard input asks for them."""
import argparse
import sys
import time

import torch


def job(**more):
    """The job's options, with `more` as name=(default, choices or None); sets threads and seed as bench-step does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=float, default=1)
    parser.add_argument("--after", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--micro-batches", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    for name, (default, choices) in more.items():
        parser.add_argument(f"--{name}", default=default, choices=choices)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    return args


def batch(args):
    return torch.randn(args.batch, 3, 32, 32), torch.randint(10, (args.batch,))


def take(step):
    """Each line of standard input is a number of steps; the answer is the seconds per step."""
    for line in sys.stdin:
        steps = int(line)
        start = time.perf_counter()
        for _ in range(steps):
            step()
        print((time.perf_counter() - start) / steps, flush=True)
