"""Groups of runs that differ only in their seed: mean, spread, and difference to raw on the same seeds."""
import dataclasses
import math
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "study"))
import results  # noqa: E402
from lists import canonical  # noqa: E402

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


@dataclasses.dataclass
class Group:
    """The runs of one wire, cut and set of options."""
    wire: str
    cut: str
    options: str
    rows: list

    def one(self, column):
        return float(self.rows[0][column])

    @property
    def family(self):
        return family(self.wire)

    @property
    def by_seed(self):
        return {r["seed"]: 100 * float(r["accuracy"]) for r in self.rows}

    @property
    def mean(self):
        return statistics.mean(self.by_seed.values())

    @property
    def spread(self):
        """Standard deviation over the seeds; None for a single seed."""
        return statistics.stdev(self.by_seed.values()) if len(self.rows) > 1 else None

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

    def to(self, other):
        """Mean and spread of the seed-by-seed difference to `other`; None if they share no seed."""
        if other is None:
            return None
        differences = [a - other.by_seed[s] for s, a in self.by_seed.items() if s in other.by_seed]
        if not differences:
            return None
        return statistics.mean(differences), statistics.stdev(differences) if len(differences) > 1 else None


class Study:
    """All finished runs of a recipe, and the published figures."""

    def __init__(self, folder, recipe):
        done = results.Results(folder)
        self.recipe, self.folder = recipe, folder
        done.data(recipe)  # refuses a mix of drawings and CIFAR-10
        spelled = {}  # the same options get the same spelling
        self.runs = [r | {"options": spelled.setdefault(canonical(r["options"]), r["options"])} for r in done.runs(recipe)]
        used = {r["options"] for r in self.runs}
        self.shared = used.pop() if len(used) == 1 else ""  # shown once, not for each run
        self.runs = [r | {"options": ""} for r in self.runs] if self.shared else self.runs
        self.epochs = done.epochs(recipe)
        self.published = results.read_csv(ROOT / "docs" / "study" / "published.csv")
        groups = {}
        for r in self.runs:
            groups.setdefault((r["wire"], r["cut"], r["options"]), []).append(r)
        self.groups = [Group(*key, rows) for key, rows in groups.items()]

    def at(self, cut=None, options=None):
        return [g for g in self.groups if cut in (None, g.cut) and
                (options is None or canonical(options) == canonical(g.options))]

    def raw(self, cut, options=""):
        return next((g for g in self.at(cut, options) if g.wire == "raw"), None)

    def beside(self, g, options=None):
        """The raw runs that `g` is compared with: those with `options`, by default its own without --raw-epochs. Raw
        trains bit for bit the same wherever it is cut, so a seed that did not run at this cut is taken from another."""
        options = without_start(g.options) if options is None else options
        return self.partner(g, [row for r in self.at(None, options) if r.wire == "raw" for row in r.rows])

    def partner(self, g, rows):
        """One of `rows` for each seed, preferably from the processor on which `g` ran, then from its cut."""
        ran_on = {r["seed"]: r["hardware"] for r in g.rows}
        by_seed = {}
        for row in sorted(rows, key=lambda r: (r["hardware"] != ran_on.get(r["seed"]), r["cut"] != g.cut)):
            by_seed.setdefault(row["seed"], row)
        rows = list(by_seed.values())
        return Group(rows[0]["wire"], g.cut, rows[0]["options"], rows) if rows else None

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
        return [r for r in self.published if r["study"] == study]

    def published_raw(self):
        return statistics.mean(float(r["accuracy"]) for r in self.reference("raw"))

    def seeds(self):
        return sorted({int(r["seed"]) for r in self.runs})

    def values(self, column):
        return sorted({r[column] for r in self.runs})
