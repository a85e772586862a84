"""Runs that differ by their seed alone, as one: mean, spread, and the difference to raw on the same seeds."""
import dataclasses
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "study"))
import results  # noqa: E402

# The published study's, in its order; a wire's family is that of its name.
FAMILIES = {"TopK": r"topk\d+", "Downsample": r"downsample\d+", "Quant": r"quant\d+",
            "TopK then Quant 8": r"topk\d+-quant8", "TopK then Quant 16": r"topk\d+-quant16"}


def family(wire):
    return next((name for name, pattern in FAMILIES.items() if re.fullmatch(pattern, wire)), None)


@dataclasses.dataclass
class Group:
    """Of one wire, cut and set of options."""
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
        """Standard deviation over the seeds; None for one."""
        return statistics.stdev(self.by_seed.values()) if len(self.rows) > 1 else None

    @property
    def bytes(self):
        """For each image trained, activations and gradients of the compressed boundaries together."""
        return self.one("forward_bytes_per_image") + self.one("gradient_bytes_per_image")

    @property
    def times(self):
        """How many times fewer bytes than raw."""
        return self.one("raw_bytes_per_image") / self.bytes

    def to(self, raw):
        """Mean and spread of the difference to raw, seed by seed; None without a seed in common."""
        if raw is None:
            return None
        differences = [a - raw.by_seed[s] for s, a in self.by_seed.items() if s in raw.by_seed]
        if not differences:
            return None
        return statistics.mean(differences), statistics.stdev(differences) if len(differences) > 1 else None


class Study:
    """All finished runs of a recipe, and what was published."""

    def __init__(self, folder, recipe):
        done = results.Results(folder)
        self.recipe, self.folder = recipe, folder
        self.runs = done.runs(recipe)
        self.epochs = done.epochs(recipe)
        self.published = results.read_csv(ROOT / "docs" / "study" / "published.csv")
        groups = {}
        for r in self.runs:
            groups.setdefault((r["wire"], r["cut"], r["options"]), []).append(r)
        self.groups = [Group(*key, rows) for key, rows in groups.items()]

    def at(self, cut=None, options=None):
        return [g for g in self.groups if cut in (None, g.cut) and options in (None, g.options)]

    def raw(self, cut, options=""):
        return next((g for g in self.at(cut, options) if g.wire == "raw"), None)

    def beside(self, g, options=None):
        """What `g` is held against: raw with these options, or with its own less the one that means nothing to raw. Raw
        trains bit for bit the same wherever it is cut, so a seed that did not run at this cut is taken from another."""
        options = re.sub(r" ?--raw-epochs[ =]\d+", "", g.options).strip() if options is None else options
        raws = sorted((r for r in self.at(None, options) if r.wire == "raw"), key=lambda r: r.cut != g.cut)
        by_seed = {}
        for row in (row for r in raws for row in r.rows):
            by_seed.setdefault(row["seed"], row)
        return Group("raw", g.cut, options, list(by_seed.values())) if by_seed else None

    def of_family(self, name, cut="edge"):
        """Its curve, from few bytes to many."""
        return sorted((g for g in self.at(cut, "") if g.family == name), key=lambda g: g.bytes)

    def others(self, cut="edge"):
        """What the published study does not have."""
        return sorted((g for g in self.at(cut) if g.wire != "raw" and (g.family is None or g.options)),
                      key=lambda g: (g.options, g.bytes))

    def elsewhere(self):
        """The same at other cuts."""
        return [g for cut in sorted({g.cut for g in self.groups} - {"edge"}) for g in self.others(cut)]

    def reference(self, study):
        return [r for r in self.published if r["study"] == study]

    def published_raw(self):
        return statistics.mean(float(r["accuracy"]) for r in self.reference("raw"))

    def seeds(self):
        return sorted({int(r["seed"]) for r in self.runs})

    def values(self, column):
        return sorted({r[column] for r in self.runs})
