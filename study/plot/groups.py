"""Groups of runs that differ only in their seed: mean, spread, and difference to raw on the same seeds."""
import dataclasses
import functools
import hashlib
import math
import pathlib
import re
import sys

import pandas

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "study"))
import results  # noqa: E402
from lists import canonical  # noqa: E402

# The columns to calculate with; the others stay text.
NUMBERS = {"seed": int, "epochs": int, "accuracy": float, "seconds": float,
           **{f"{way}_{what}": float for way in ("forward", "gradient") for what in ("bits", "bytes_per_image")},
           **{name: float for name in ("nominal_forward", "nominal_gradient", "raw_bytes_per_image")}}

# The published study's families, in its order; a wire's name decides its family.
FAMILIES = {"TopK": r"topk\d+", "Downsample": r"downsample\d+", "Quant": r"quant\d+",
            "TopK then Quant 8": r"topk\d+-quant8", "TopK then Quant 16": r"topk\d+-quant16"}


# The cuts in the published study's order, with its name for each: first:last.
CUTS = {"edge": "2:-2", "cloud": "1:-1", "edge-cloud": "2:-1", "cloud-edge": "1:-2", "head": "", "narrow": "", "board": "", "two": ""}

# For each wire, the plainer wire it extends and what it adds.
ADDED = {"hadamard-quant4": ("quant4", "rotation"), "quant4-chance": ("quant4", "gradients rounded by chance"),
         "quant4-ef-grad": ("quant4", "error feedback of gradients"), "quant4-grad8": ("quant4", "8 bits for gradients"),
         "delta-quant4": ("quant4", "difference to the last visit"), "hadamard-quant2": ("quant2", "rotation"),
         "signs-quant2": ("quant2", "rotation with random signs"),
         "quant2-signs-grad": ("quant2", "gradients rotated with random signs"),
         "delta-quant2": ("quant2", "difference to the last visit, 4 bits for gradients"),
         "topk10-sample-quant8": ("topk10-quant8", "a selection for each sample"),
         "topk10-block-quant8": ("topk10-quant8", "a selection for each block of 256"),
         "ef-topk10-quant8": ("topk10-quant8", "error feedback"), "ef21-topk10-quant8": ("topk10-quant8", "EF21"),
         "delta-topk10-quant8": ("topk10-quant8", "difference to the last visit"),
         "down2-quant3+quant4": ("down2-quant3", "the last boundary not pooled, 4 bits"),
         "down2-quant3-down8-grad+quant3": ("down2-quant3", "the last boundary not pooled; the first's gradient pooled by 8")}


def family(wire):
    return next((name for name, pattern in FAMILIES.items() if re.fullmatch(pattern, wire)), None)


def without_start(options):
    """The options without --raw-epochs, which means nothing to raw."""
    return results.take_out(options, "--raw-epochs")[0]


def mean_and_spread(values):
    """Mean and standard deviation, the latter None for a single value; None for no value."""
    if values.empty:
        return None
    return values.mean(), values.std() if len(values) > 1 else None


@dataclasses.dataclass(eq=False)  # one group is not another with the same runs
class Group:
    """The runs of one wire, cut and set of options."""
    wire: str
    cut: str
    options: str
    rows: pandas.DataFrame

    def one(self, column):
        return self.rows[column].iloc[0]

    @property
    def family(self):
        return family(self.wire)

    @functools.cached_property
    def by_seed(self):
        return self.rows.set_index("seed").accuracy

    @property
    def reached(self):
        return mean_and_spread(self.by_seed)

    @property
    def bytes(self):
        """Per image trained, for activations and gradients of the compressed boundaries together."""
        return self.one("forward_bytes_per_image") + self.one("gradient_bytes_per_image")

    @property
    def times(self):
        """How many times fewer bytes than raw."""
        return self.one("raw_bytes_per_image") / self.bytes

    @property
    def bits(self):
        """Per element, averaged over activations and gradients."""
        return 32 / self.times

    def above(self, other):
        """The difference to `other` for each seed that both have."""
        return (self.by_seed - other.by_seed).dropna()

    def to(self, other):
        """Mean and spread of the seed-by-seed difference to `other`; None if they share no seed."""
        return None if other is None else mean_and_spread(self.above(other))


class Study:
    """All finished runs of a recipe, and the published figures."""

    def __init__(self, folder, recipe):
        done = results.Results(folder)
        self.recipe, self.folder = recipe, folder
        done.data(recipe)  # refuses a mix of drawings and CIFAR-10
        runs, epochs = done.runs(recipe), done.epochs(recipe)
        published = results.read_csv(ROOT / "docs" / "study" / "published.csv")
        spelled = {}  # the same options get the same spelling
        runs.options = [spelled.setdefault(canonical(o), o) for o in runs.options]
        used = set(runs.options)
        self.shared = used.pop() if len(used) == 1 else ""  # shown once, not for each run
        if self.shared:
            runs.options = ""
        # Covers all that a picture is drawn from; stored in the picture, so that a stale one is found without drawing.
        text = repr((recipe, *(table.to_dict("records") for table in (runs, epochs, published))))
        self.digest = "pcomp results " + hashlib.sha256(text.encode()).hexdigest()[:16]
        self.runs, self.epochs = runs.astype(NUMBERS), epochs.astype({"epoch": int, "accuracy": float})
        self.runs.accuracy *= 100
        self.epochs.accuracy *= 100
        self.published = published.astype({"accuracy": float})
        self.groups = [Group(*key, rows) for key, rows in self.runs.groupby(["wire", "cut", "options"], sort=False)]

    def at(self, cut=None, options=None):
        return [g for g in self.groups if cut in (None, g.cut) and
                (options is None or canonical(options) == canonical(g.options))]

    def raw(self, cut, options=""):
        return next((g for g in self.at(cut, options) if g.wire == "raw"), None)

    @functools.cache
    def beside(self, g, options=None):
        """The raw runs that `g` is compared with: those with `options`, by default its own without --raw-epochs. Raw
        trains bit for bit the same wherever it is cut, so a seed that did not run at this cut is taken from another."""
        options = without_start(g.options) if options is None else options
        raw = [r.rows for r in self.at(None, options) if r.wire == "raw"]
        return self.partner(g, pandas.concat(raw)) if raw else None

    def partner(self, g, rows):
        """One of `rows` for each seed, preferably from the processor on which `g` ran, then from its cut."""
        ran_on = rows.seed.map(g.rows.set_index("seed").hardware)
        rows = rows.assign(foreign=rows.hardware != ran_on, moved=rows.cut != g.cut)
        rows = rows.sort_values(["foreign", "moved"], kind="stable").drop_duplicates("seed")
        return Group(rows.wire.iloc[0], g.cut, rows.options.iloc[0], rows)

    def gains(self, cut="edge"):
        """What was added to which wire, from many bits to few: (plain, extended, what, (mean gain, spread))."""
        found = []
        for g in self.at(cut):
            plain, what = ADDED.get(g.wire, (None, None))
            if (shorter := without_start(g.options)) != g.options:
                plain, what = g.wire, results.take_out(g.options, "--epochs")[0]
            base = next((b for b in self.at(cut, shorter) if b.wire == plain), None)
            if base and (gain := g.to(self.partner(g, base.rows))):
                found.append((base, g, what, gain))
        return sorted(found, key=lambda f: (-f[0].bits, f[0].wire, f[1].options, -f[3][0]))

    def advisable(self, cut=None):
        """The compressed groups with raw runs to compare with, and what they cost, options included. None has --epochs
        or --micro-batches: neither more training nor a pipeline without overlap is a way to save bytes."""
        return [(g, d[0]) for g in self.at(cut) if g.wire != "raw" and not re.search("--epochs|--micro-batches", g.options)
                and (d := g.to(self.beside(g, "")))]

    def frontier(self):
        """The groups for which no other with fewer bytes is closer to raw, from few bytes to many."""
        found, closest = [], -math.inf
        for g, to_raw in sorted(self.advisable(), key=lambda f: (f[0].bytes, -f[1])):
            if to_raw > closest:
                closest = to_raw
                found.append(g)
        return found

    def of_family(self, name, cut="edge"):
        """The curve of a family, from few bytes to many."""
        return sorted((g for g in self.at(cut, "") if g.family == name), key=lambda g: g.bytes)

    def others(self, cut="edge"):
        """The groups that the published study does not have."""
        return sorted((g for g in self.at(cut) if g.wire != "raw" and (g.family is None or g.options)),
                      key=lambda g: (g.options, g.bytes))

    def compared_cuts(self):
        """The groups of wires that ran at several cuts, for the options with the most such groups."""
        best = []
        for options in sorted({g.options for g in self.groups}):
            groups = [g for g in self.at(None, options) if g.cut in CUTS and g.wire != "raw"]
            groups = [g for g in groups if len({o.cut for o in groups if o.wire == g.wire}) > 1]
            best = max(best, groups, key=len)
        return best

    def elsewhere(self):
        """`others` at the other cuts."""
        return [g for cut in sorted({g.cut for g in self.groups} - {"edge"}) for g in self.others(cut)]

    def reference(self, study):
        return self.published[self.published.study == study]

    def published_raw(self):
        return self.reference("raw").accuracy.mean()

    def values(self, column):
        return sorted(set(self.runs[column]))
