#!/usr/bin/env python3
"""A decoder of the wire written from docs/wire-format.md alone, checked against golden payloads.

usage: decode.py wires.txt [wire-format.md]

Reads every line of the first file, decodes the forward and the gradient payload, and compares the CRC-32 of the
floats; then decodes the examples of the document and compares the values.
"""
import math
import re
import struct
import sys
import zlib


def f32(x):
    """Rounds to float, the type in which the wire computes."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


FLOAT_MAX = (2 - 2 ** -23) * 2.0 ** 127


def bits_to_float(u):
    return struct.unpack("<f", struct.pack("<I", u))[0]


def align(n):
    return -(-n // 16) * 16


def planes(bits):
    return [w for w in (32, 16, 8, 4, 2, 1) if bits & w]


def packed_bytes(n, bits):
    return n // 128 * 16 * bits + sum(-(-(n % 128) * w // 8) for w in planes(bits))


def unpack(data, n, bits):
    """Codes in blocks of 128; a block has one plane for each set bit of `bits`, the widest first."""
    codes, at = [], 0
    for begin in range(0, n, 128):
        r = min(128, n - begin)
        block, shift = [0] * r, 0
        for w in planes(bits):
            s = -(-r * w // 8)
            for j in range(r):
                if w >= 8:
                    v = int.from_bytes(data[at + j * w // 8:at + (j + 1) * w // 8], "little")
                else:
                    v = data[at + j % s] >> (j // s * w) & ((1 << w) - 1)
                block[j] |= v << shift
            at, shift = at + s, shift + w
        codes += block
    return codes


def index_format(n, k):
    """(kind, low bits, bytes of the bitmap or high part, offset of the low part, bytes in all)"""
    if k in (0, n):
        return None, 0, 0, 0, 0
    best = ("bitmap", 0, -(-n // 8), 0, -(-n // 8))
    low = 0
    while low < 32 and (low == 0 or (n - 1) >> (low - 1)):
        high = -(-(((n - 1) >> low) + k) // 8)
        at = align(high) if low else high
        size = at + packed_bytes(k, low)
        if size < best[4]:
            best = ("elias-fano", low, high, at, size)
        low += 1
    return best


def positions(data, n, k):
    kind, low, high, at, size = index_format(n, k)
    if kind is None:
        return list(range(k)), 0
    ones = [i for i in range(high * 8) if data[i // 8] >> (i % 8) & 1]
    if kind == "bitmap":
        return ones, size
    lows = unpack(data[at:size], k, low) if low else [0] * k
    return [(bit - rank) << low | lows[rank] for rank, bit in enumerate(ones)], size


class Coder:
    def __init__(self, text):
        self.text, self.group, self.scale_bytes = text, 0, 0
        if m := re.match(r"Quant<(\d+)", text):
            self.bits, whole = int(m[1]), "PerTensor" in text
            g = re.search(r"PerGroup<(\d+)>", text)
            self.group, self.scale_bytes = (0, 8) if whole else (int(g[1]) if g else 128, 4)
        elif m := re.match(r"Step<(\d+)/(\d+), (\d+)>", text):
            self.bits, self.s = int(m[3]), f32(int(m[1]) / int(m[2]))
        else:
            self.bits = {"Half": 16, "BFloat16": 16, "Sign": 2, "Float32": 32}[text]

    def scales(self, n):
        return 0 if not self.scale_bytes or not n else 1 if not self.group else -(-n // self.group)

    def decode(self, code, scale):
        if self.text == "Float32":
            return bits_to_float(code)
        if self.text == "Half":
            return struct.unpack("<e", struct.pack("<H", code))[0]
        if self.text == "BFloat16":
            return bits_to_float(code << 16)
        if self.text == "Sign":
            return [0.0, 1.0, -1.0, math.nan][code]
        if self.text.startswith("Step"):
            return f32((code - (1 << (self.bits - 1))) * self.s) if code else math.nan
        if self.scale_bytes == 8:
            lo, step = struct.unpack("<ff", scale)
        else:
            lo, step = (bits_to_float(u << 16) for u in struct.unpack("<HH", scale))
        v = f32(lo + code * step)  # the product is exact
        return FLOAT_MAX if math.isfinite(lo) and v == math.inf else v


def mix(x):
    x &= 0xffffffff
    x = (x ^ x >> 16) * 0x7feb352d & 0xffffffff
    x = (x ^ x >> 15) * 0x846ca68b & 0xffffffff
    return x ^ x >> 16


def butterflies(x, rounded):
    x, h = list(x), 1
    while h < len(x):
        for i in range(len(x)):
            if not i & h:
                x[i], x[i + h] = rounded(x[i] + x[i + h]), rounded(x[i] - x[i + h])
        h *= 2
    return x


def shape_of(text):
    return [int(d) for d in text.split("x")]


def size(e):
    return math.prod(e)


class Chain:
    def __init__(self, text):
        parts = [p for p in text.split(" | ") if p != "Raw"]
        down = next((re.fullmatch(r"Downsample<(\d+)(?:, Axes<([^>]*)>)?>", p) for p in parts if p.startswith("Downsample")), None)
        self.k, self.axes = (int(down[1]), down[2]) if down else (0, None)
        self.top = next((p for p in parts if p.startswith("TopK")), None)
        turn = next((re.match(r"Hadamard<(\d+)(, RandomSigns)?>", p) for p in parts if p.startswith("Hadamard")), None)
        self.block, self.random_signs = (int(turn[1]), bool(turn[2])) if turn else (0, False)
        self.coder = Coder(next((p for p in parts if not re.match("Downsample|TopK|Hadamard", p)), "Float32"))

    def shaped(self, e):
        pooled = self.pooled(e)
        return [-(-n // self.k) if d in pooled else n for d, n in enumerate(e)]

    def pooled(self, e):
        """The dimensions that have windows."""
        if not self.k:
            return set()
        return {int(a) % len(e) for a in self.axes.split(",")} if self.axes else {len(e) - 2, len(e) - 1}

    def sent(self, e):
        n = size(e)
        if not self.top:
            return n
        m = re.match(r"TopK<(\d+)/(\d+)(?:, (PerSample|PerGroup<(\d+)>))?>", self.top)
        num, den = int(m[1]), int(m[2])
        segment = n if not m[3] else int(m[4]) if m[4] else n // e[0] if len(e) > 1 else n
        keep = lambda m: max(1, m * num // den) if m else 0
        return n // segment * keep(segment) + keep(n % segment)

    def decode(self, data, e):
        """Returns the shaped elements and the positions that were sent."""
        shaped = self.shaped(e)
        n, k = size(shaped), self.sent(shaped)
        at, codes_at = (positions(data, n, k)) if self.top else (list(range(n)), 0)
        codes_at = align(codes_at)
        codes = unpack(data[codes_at:], k, self.coder.bits)
        end = codes_at + packed_bytes(k, self.coder.bits)
        scales_at = align(end) if self.coder.scales(k) else end
        sb, g = self.coder.scale_bytes, self.coder.group
        assert len(data) == scales_at + self.coder.scales(k) * sb, "length"
        values = []
        for rank, c in enumerate(codes):
            i = rank // g if g else 0
            values.append(self.coder.decode(c, data[scales_at + i * sb:scales_at + (i + 1) * sb]))
        out = [0.0] * n
        for p, v in zip(at, self.rotated_back(values)):
            out[p] = v
        return out, at

    def rotated_back(self, x):
        """Multiplies each whole block by the Walsh-Hadamard matrix, scales it, and flips its signs back."""
        b, scale = self.block, f32(self.block ** -0.5) if self.block else 0
        for begin in range(0, len(x) - b + 1 if b else 0, b or 1):
            given = x[begin:begin + b]
            block = [f32(v * scale) for v in butterflies(given, f32)]
            if not all(map(math.isfinite, block)):
                wide = butterflies(given, float)
                block = [f32(max(-FLOAT_MAX, min(FLOAT_MAX, v * scale))) for v in wide]
                if not all(map(math.isfinite, given)):
                    block = [math.nan] * b
            for i, v in enumerate(block, begin):
                flip = self.random_signs and mix(2 * (i // b) + i % b // 32 + 0x9e3779b9) >> (i % 32) & 1
                x[i] = v * (-1 if flip else 1)
        return x

    def repeat(self, y, e, share):
        if not self.k:
            return y
        k, pooled = self.k, self.pooled(e)
        x = []
        for i in range(size(e)):
            rest, at, step, count = i, 0, 1, 1
            for d in reversed(range(len(e))):
                rest, j = divmod(rest, e[d])
                if d in pooled:
                    j //= k
                    count *= min(k, e[d] - j * k)
                at, step = at + j * step, step * (-(-e[d] // k) if d in pooled else e[d])
            x.append(f32(y[at] * f32(1 / f32(count))) if share else y[at])
        return x


def crc(values):
    return zlib.crc32(struct.pack(f"<{len(values)}f", *values))


def decode(name, e, forward, backward=None):
    """The tensor of a forward payload or, if there is one beside it, of the gradient payload."""
    f_text, _, g_text = name.partition(" / ")
    f = Chain(f_text)
    y, kept = f.decode(forward, e)
    if backward is None:
        return f.repeat(y, e, False)
    coder = " | ".join(p for p in f_text.split(" | ") if not re.match("Downsample|TopK", p))
    g = Chain(g_text or coder or "Raw")
    shaped = f.shaped(e)
    restricted = [len(kept)] if f.top else shaped
    values = g.repeat(g.decode(backward, restricted)[0], restricted, False)
    placed = [0.0] * size(shaped)
    for p, v in zip(kept, values):
        placed[p] = v
    return f.repeat(placed, e, True)


def golden(path):
    checked = 0
    for line in open(path):
        name, shape, forward, forward_crc, backward, backward_crc = line.strip().split(";")
        e, forward, backward = shape_of(shape), bytes.fromhex(forward), bytes.fromhex(backward)
        assert crc(decode(name, e, forward)) == int(forward_crc), f"{name} on {shape}: forward"
        assert crc(decode(name, e, forward, backward)) == int(backward_crc), f"{name} on {shape}: gradient"
        checked += 2
    return checked


def tensor(text, n):
    """Reads all values in order, or the nonzero ones as index:value."""
    if ":" not in text:
        return [float(v) for v in text.split()]
    dense = [0.0] * n
    for item in text.split():
        i, v = item.split(":")
        dense[int(i)] = float(v)
    return dense


def same(a, b):
    return len(a) == len(b) and all(x == y or (x != x and y != y) for x, y in zip(a, b))


def document(path):
    checked = 0
    for block in re.findall(r"^```\n(.*?)^```", open(path).read(), re.M | re.S):
        lines = block.splitlines()
        if lines[0].count(" | ") < 2:
            continue  # a picture, not an example
        name, shape, _ = lines[0].rsplit(" | ", 2)
        e, forward = shape_of(shape), bytes.fromhex(lines[1])
        assert same(decode(name, e, forward), tensor(lines[2], size(e))), f"the example of {name}"
        checked += 1
        if len(lines) > 3:
            gradient = decode(name, e, forward, bytes.fromhex(lines[4]))
            assert same(gradient, tensor(lines[5], size(e))), f"the gradient of {name}"
            checked += 1
    return checked


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    checked = golden(sys.argv[1])
    shown = document(sys.argv[2]) if len(sys.argv) == 3 else None
    assert checked and shown != 0, "no payload was read"
    print(f"{checked} payloads decoded as documented" + (f", and {shown} examples of the document" if shown else ""))


if __name__ == "__main__":
    main()
