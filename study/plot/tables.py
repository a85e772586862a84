"""The tables of docs/study.md, each between <!-- table NAME --> or <!-- table NAME of RECIPE --> and <!-- end -->."""
import re

from groups import CUTS, FAMILIES, Study, results

TARGETS = (4, 10, 20, 40, 80)
BITS = (8.5, 4.5, 2, 1, 0.5)


def kilo(x):
    return f"{x:.0f} B" if x < 1000 else f"{x / 1000:.3g} kB"


def share(g):
    return "1" if g.times < 1.05 else f"1/{g.times:.1f}" if g.times < 10 else f"1/{g.times:.0f}"


def with_spread(value, spread, sign=""):
    return f"{value:{sign}.2f}" + (f" ± {spread:.2f}" if spread is not None else "")


def difference(study, g, options=None):
    found = g.to(study.beside(g, options))
    return with_spread(*found, sign="+") if found else ""


def grid(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
                      *("| " + " | ".join(r) + " |" for r in rows)])


def count(n, what):
    return f"{n} {what}{'s' * (n != 1)}"


def name(g, less=None):
    """Wire and options, without the option `less`, which has its own column in the table."""
    options = results.take_out(g.options, less)[0] if less else g.options
    return f"`{g.wire}`" + (f" `{options}`" if options else "")


def cells(study, g):
    rate = g.one("nominal_forward"), g.one("nominal_gradient")
    return [name(g), f"{rate[0]:.4g}" if rate[0] == rate[1] else f"{rate[0]:.4g} / {rate[1]:.4g}",
            f"{g.one('forward_bits'):.3g} / {g.one('gradient_bits'):.3g}", kilo(g.bytes), share(g),
            with_spread(*g.reached), "" if g.wire == "raw" else difference(study, g), str(len(g.rows))]


HEAD = ["`--wire`", "nominal rate", "bits an element, activation / gradient", "bytes an image, both ways", "of raw",
        "accuracy, %", "to raw, points", "seeds"]


def families(study):
    raw = study.raw("edge")
    groups = ([raw] if raw else []) + [g for name in FAMILIES for g in reversed(study.of_family(name))]
    return grid(HEAD, [cells(study, g) for g in groups]) if groups else "No run is finished: `./dev study families`."


def others(study):
    rows = []
    for options in sorted({g.options for g in study.others()}):
        raw = study.raw("edge", options)
        rows += [cells(study, raw)] if raw and options else []
        rows += [cells(study, g) for g in study.others() if g.options == options]
    return grid(HEAD, rows) if rows else "No run is finished: `./dev study ablations`."


def at_cut(cut):
    def table(study):
        rows = [cells(study, g) for g in sorted(study.at(cut), key=lambda g: (g.options, g.bytes))]
        return grid(HEAD, rows) if rows else f"No run is finished: `./dev study {cut}`."
    return table


def cuts(study):
    rows = []
    compared = study.compared_cuts()
    for g in sorted(compared, key=lambda g: (list(CUTS).index(g.cut), g.bytes)):
        theirs = [f"{r.accuracy}" for r in study.reference("cuts").itertuples() if (r.wire, r.cut) == (g.wire, g.cut)]
        rows.append([f"`{g.cut}`", CUTS[g.cut], name(g), kilo(g.bytes), with_spread(*g.reached),
                     difference(study, g), str(len(g.rows)), *(theirs or [""])])
    head = ["`--cut`", "first:last", "`--wire`", "bytes an image, both ways", "accuracy, %", "to raw, points",
            "seeds", "published, %"]
    picture = f"![Accuracy and bytes at each cut](study/{study.recipe}-cuts.svg)\n\n"
    return picture + grid(head, rows) if rows else "No two cuts have finished runs of one wire: `./dev study cuts`."


def advice(study):
    """For each share of raw's bytes: of the wires that need about that or less, the one that costs least accuracy."""
    rows = []
    for target in TARGETS:
        if fit := [(g, d) for g, d in study.advisable("edge") if g.times >= 0.95 * target]:
            best, _ = max(fit, key=lambda f: f[1])
            rows.append([f"1/{target}", name(best), share(best),
                         kilo(best.bytes), difference(study, best, ""), str(len(best.rows))])
    head = ["about, of raw", "use `--wire`", "of raw", "bytes an image", "costs, points", "seeds"]
    return grid(head, rows) if rows else "No compressed run is finished beside raw."


def frontier(study):
    """Each cut and wire for which no other with fewer bytes per image is closer to raw."""
    rows = [[kilo(g.bytes), f"`{g.cut}`", name(g), share(g), difference(study, g, ""), str(len(g.rows))]
            for g in reversed(study.frontier())]
    head = ["bytes an image", "`--cut`", "`--wire`", "of that cut's raw", "costs, points", "seeds"]
    return grid(head, rows) if rows else "No compressed run is finished beside raw."


def ladder(study):
    """For each range of bits per element, averaged over activations and gradients: the three wires closest to raw, best
    first, for each number of epochs, most first."""
    rows = []
    fit = [(g, d) for g in study.at("edge") if g.wire != "raw" and (d := g.to(study.beside(g)))]
    for above, bits in zip(BITS[1:] + (0,), BITS):
        for epochs in sorted({g.one("epochs") for g, _ in fit}, reverse=True):
            some = [(g, d) for g, d in fit if above < g.bits <= bits and g.one("epochs") == epochs]
            rows += [[f"{above:g} to {bits:g}" if above else f"to {bits:g}", str(epochs), name(g, "--epochs"), f"{g.bits:.3g}",
                      difference(study, g), str(len(g.rows))] for g, d in sorted(some, key=lambda f: -f[1][0])[:3]]
    head = ["bits an element", "epochs", "`--wire`", "has", "to raw, points", "seeds"]
    return grid(head, rows) if rows else "No compressed run is finished beside raw."


def gains(study):
    """What each addition to a wire is worth on the same seeds."""
    rows = [[f"`{plain.wire}`", f"{plain.bits:.3g}", what, f"`{g.wire}`", f"{g.bits:.3g}", with_spread(*gain, sign="+"),
             difference(study, g), str(g.one("epochs")), str(len(g.above(plain)))] for plain, g, what, gain in study.gains()]
    head = ["to", "bits an element", "is added", "which is `--wire`", "bits", "gain, points", "to raw", "epochs", "seeds"]
    return grid(head, rows) if rows else "No wire is finished beside the plainer one: `./dev study ablations`."


def published(study):
    rows = [[r.family, f"`{r.wire}`", r.nominal, f"{r.accuracy}", f"{r.accuracy - study.published_raw():+.2f}"]
            for r in study.reference("families").itertuples()]
    return grid(["family", "our `--wire`", "nominal rate", "accuracy, %", "to the middle of its raw runs"], rows)


def commits(study):
    """The commits; a long list is left to the CSV."""
    all_of = study.values("commit")
    if len(all_of) <= 3:
        return ", ".join(all_of)
    return f"{len(all_of)} commits, column `commit` of [{study.recipe}.csv](study/results/{study.recipe}.csv)"


def provenance(study):
    if study.runs.empty:
        return "No run is finished."
    one, seeds = study.runs.iloc[0], study.values("seed")
    least, most = (f"{seconds / 60:.0f}" for seconds in (study.runs.seconds.min(), study.runs.seconds.max()))
    shared = [["options", f"`{study.shared}`"]] if study.shared else []
    rows = [*shared,
            ["runs", f"{count(len(study.runs), 'run')} of {count(len(study.groups), 'setting')}, "
                     f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"],
            ["images", f"{', '.join(study.values('data'))}: {one['train_images']} for training, {one['test_images']} for testing"],
            ["processor", "; ".join(study.values("hardware"))],
            ["threads a rank", ", ".join(study.values("threads"))],
            ["training of a run", f"{least if least == most else f'{least} to {most}'} minutes, "
                                  f"{' or '.join(a or '?' for a in study.values('at_once'))} at once"],
            ["built from", commits(study)]]
    return grid(["", ""], rows)


TABLES = {"families": families, "others": others, "board": at_cut("board"), "head": at_cut("head"),
          "narrow": at_cut("narrow"), "cuts": cuts, "advice": advice, "frontier": frontier,
          "ladder": ladder, "gains": gains, "published": published, "provenance": provenance}
PLACE = re.compile(r"(<!-- table (\S+)(?: of (\S+))? -->\n).*?(<!-- end -->)", re.S)


def fill(text, study):
    """The document with every table filled in from the current results."""
    def table(match):
        if match[2] not in TABLES:
            raise ValueError(f"there is no table '{match[2]}': {', '.join(TABLES)} are known")
        whose = Study(study.folder, match[3]) if match[3] else study
        return f"{match[1]}{TABLES[match[2]](whose)}\n{match[4]}"
    return PLACE.sub(table, text)
