"""Nominal rates, as the published study counts them: indices, scales and padding are free."""
import re

# The share of 32 bits per element that a codec by itself leaves; codecs that only change values leave all of it.
FACTORS = [
    (r"Raw|Float32", lambda m: 1.0),
    (r"Half|BFloat16", lambda m: 0.5),
    (r"Quant<(\d+).*>", lambda m: int(m[1]) / 32),
    (r"Step<\d+(?:/\d+)?(?:, *(\d+))?>", lambda m: int(m[1] or 8) / 32),
    (r"TopK<(\d+)(?:/(\d+))?.*>", lambda m: int(m[1]) / int(m[2] or 1)),
    (r"Downsample<(\d+), Axes<([^>]*)>>", lambda m: 1 / int(m[1]) ** len(m[2].split(","))),
    (r"Downsample<(\d+)>", lambda m: 1 / int(m[1]) ** 2),
    (r"(?:ErrorFeedback|EF21|Delta|Hadamard|Rotate)\b.*", lambda m: 1.0),
]
SHRINKS = ("TopK", "Downsample")


def split(text, separator):
    """Splits at the separators outside all <>."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c == "<") - (c == ">")
        if depth == 0 and text.startswith(separator, i):
            parts.append(text[start:i].strip())
            start = i + len(separator)
    return [*parts, text[start:].strip()]


def factor(codec):
    for pattern, rate in FACTORS:
        if match := re.fullmatch(pattern, codec):
            return rate(match)
    raise ValueError(f"the nominal rate of the codec '{codec}' is not known: add it to study/rates.py")


def chain(text, only=lambda codec: True):
    product = 1.0
    for codec in split(text, "|"):
        if only(codec):
            product *= factor(codec)
    return product


def nominal(wire):
    """Forward and gradient, as shares of 32-bit floats: 'TopK<1/10> | Quant<8>' is 0.025 both ways.

    In 'F / G', G codes the gradients, after they are restricted to what F kept.
    """
    forward, *gradient = wire.split(" / ")
    kept = chain(forward, lambda codec: codec.startswith(SHRINKS))
    return chain(forward), kept * chain(gradient[0]) if gradient else chain(forward)
