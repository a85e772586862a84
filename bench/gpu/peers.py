#!/usr/bin/env python3
"""peers.py CSV [LEAST MOST]: what a user would write instead, on the same GPU and sizes as bench-gpu: eager torch, the same
under torch.compile, and a one-pass 8-bit kernel in Triton where it is installed. Medians of CUDA-event times."""
import statistics
import sys

import torch

GROUP = 128


def quant8(x):
    rows = x.view(-1, GROUP)
    low, high = torch.aminmax(rows, dim=1, keepdim=True)
    step = ((high - low) / 255).clamp_min(1e-30)
    return ((rows - low) / step).round().to(torch.uint8), low, step


def topk10_quant8(x):
    k = x.numel() // 10 // GROUP * GROUP
    index = x.abs().topk(k, sorted=False).indices
    return quant8(x[index]), index.to(torch.int32)


def topk10_mask(x):
    """Dense, as in published pipeline code: the whole tensor would be sent."""
    cut = x.abs().topk(x.numel() // 10, sorted=False).values.min()
    return torch.where(x.abs() >= cut, x, 0)


def triton_quant8():
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(x_ptr, code_ptr, low_ptr, step_ptr, ROWS: tl.constexpr, G: tl.constexpr):
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        at = row[:, None] * G + tl.arange(0, G)[None, :]
        x = tl.load(x_ptr + at)
        low, high = tl.min(x, 1), tl.max(x, 1)
        step = tl.maximum((high - low) / 255, 1e-30)
        code = ((x - low[:, None]) / step[:, None] + 0.5).to(tl.uint8)
        tl.store(code_ptr + at, code)
        tl.store(low_ptr + row, low)
        tl.store(step_ptr + row, step)

    def run(x):
        rows = x.numel() // GROUP
        code = torch.empty(x.numel(), dtype=torch.uint8, device=x.device)
        low, step = torch.empty(rows, device=x.device), torch.empty(rows, device=x.device)
        kernel[(rows // 16,)](x, code, low, step, 16, GROUP)
        return code, low, step

    return run


def median_us(job, rounds, flush):
    for _ in range(5):
        job()
    pairs = []
    for _ in range(rounds):
        if flush is not None:
            flush.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        job()
        end.record()
        pairs.append((begin, end))
    torch.cuda.synchronize()
    return statistics.median(1e3 * b.elapsed_time(e) for b, e in pairs)


def contenders():
    found = [("eager quant8", quant8), ("eager topk10-quant8", topk10_quant8), ("eager topk10 mask", topk10_mask)]
    try:
        found += [("compiled quant8", torch.compile(quant8)), ("compiled topk10-quant8", torch.compile(topk10_quant8))]
        for _, f in found[3:]:
            f(torch.randn(1 << 16, device="cuda"))
    except Exception as error:  # whatever this installation lacks
        found = found[:3]
        print(f"torch.compile is left out: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    try:
        run = triton_quant8()
        run(torch.randn(1 << 16, device="cuda"))
        found.append(("Triton quant8", run))
    except Exception as error:
        print(f"Triton is left out: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return found


def main():
    if not torch.cuda.is_available():
        sys.exit("peers.py: this torch sees no GPU")
    least, most = (int(a) for a in sys.argv[2:4]) if len(sys.argv) == 4 else (20, 27)
    properties = torch.cuda.get_device_properties(0)
    flush = torch.empty(2 * max(properties.L2_cache_size, 32 << 20), dtype=torch.uint8, device="cuda")
    jobs = contenders()
    print(f"torch {torch.__version__} on {properties.name}: times of the copy's (microseconds), warm | cold")
    with open(sys.argv[1], "w") as csv:
        csv.write("what,floats,cache,microseconds,copy_microseconds,copy\n")
        for exponent in range(least, most + 1):
            n = 1 << exponent
            x, y = torch.randn(n, device="cuda"), torch.empty(n, device="cuda")
            for name, job in jobs:
                cells = []
                for cache, flushed in (("warm", None), ("cold", flush)):
                    rounds = 51 if exponent < 24 else 15
                    copy = median_us(lambda: y.copy_(x), rounds, flushed)
                    took = median_us(lambda: job(x), rounds, flushed)
                    cells.append(f"{took / copy:.2f} ({took:.1f})")
                    csv.write(f"{name},{n},{cache},{took:.2f},{copy:.2f},{took / copy:.3f}\n")
                print(f"2^{exponent}  {name:<24} {' | '.join(cells)}", flush=True)


main()
