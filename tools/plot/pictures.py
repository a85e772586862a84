"""The pictures of docs/study.md, by matplotlib."""
import collections
import statistics

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patheffects import withStroke  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402
from matplotlib.transforms import Bbox  # noqa: E402

from groups import FAMILIES  # noqa: E402
from tables import kilo, order  # noqa: E402

# Okabe and Ito's colours, which the colour-blind tell apart too; a marker each besides.
LOOK = {"TopK": ("#0072B2", "o"), "Downsample": ("#E69F00", "s"), "Quant": ("#009E73", "^"),
        "TopK then Quant 8": ("#D55E00", "D"), "TopK then Quant 16": ("#CC79A7", "v")}
OTHER, GREY = "#444444", "#999999"
plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
                     "axes.grid": True, "grid.color": "#e4e4e4", "axes.axisbelow": True, "legend.frameon": False,
                     "svg.hashsalt": "pcomp", "svg.fonttype": "path", "figure.dpi": 100})


def seeds_text(n):
    least, most = min(n), max(n)
    if most == 1:
        return "one seed"
    return f"mean of {most} seeds" if least == most else f"mean of {least} to {most} seeds"


def recipe_text(study):
    plain = next((r for r in study.runs if not r["options"]), study.runs[0])
    return f"recipe {study.recipe} ({plain['epochs']} epochs), {'/'.join(study.values('data'))}"


def error_bar(axes, x, y, color, marker):
    """Of y = (mean, spread or None)."""
    axes.errorbar(x, y[0], yerr=y[1] or 0, color=color, marker=marker, ms=6, capsize=3 if y[1] else 0, lw=1, ls="none",
                  zorder=3)


def log_rate(axes):
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def log_bytes(axes):
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high < 200 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: kilo(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def curves(axes, study, x, y):
    for name, (color, marker) in LOOK.items():
        groups = [g for g in study.of_family(name) if y(g) is not None]
        axes.plot([x(g) for g in groups], [y(g)[0] for g in groups], color=color, lw=1.6)
        for g in groups:
            error_bar(axes, x(g), y(g), color, marker)


def singles(axes, study, x, y, elsewhere):
    """Wires that the published study does not have; with `elsewhere` those at other cuts too. Returns their names' places."""
    found = [(g, "P") for g in study.others()] + [(g, "X") for g in study.elsewhere() if elsewhere]
    found = [(g, marker) for g, marker in found if g.options == "" and y(g) is not None]
    for g, marker in found:
        error_bar(axes, x(g), y(g), OTHER, marker)
    return [(axes, x(g), y(g), g.wire if marker == "P" else f"{g.cut}: {g.wire}") for g, marker in found]


# Where a name may stand beside its mark: offset in points, horizontal and vertical alignment.
SIDES = [((0, 7), "center", "bottom"), ((0, -7), "center", "top"), ((8, 0), "left", "center"), ((-8, 0), "right", "center"),
         ((7, 7), "left", "bottom"), ((-7, 7), "right", "bottom"), ((7, -7), "left", "top"), ((-7, -7), "right", "top"),
         ((0, 20), "center", "bottom"), ((0, -20), "center", "top"),
         *(((x, y), "left" if x > 0 else "right", "bottom" if y > 0 else "top") for far in (20, 36)
           for x, y in ((far, -far), (-far, far), (far, far), (-far, -far)))]


def name_marks(figure, marks):
    """Each name on the first side of its mark where it touches no other name or mark and stays inside."""
    figure.draw_without_rendering()
    taken = {}
    for axes, *_ in marks:
        if axes not in taken:
            points = [axes.transData.transform(p) for line in axes.get_lines() if line.get_marker() not in ("None", "_", None)
                      for p in line.get_xydata()]
            taken[axes] = [Bbox.from_extents(px - 8, py - 7, px + 8, py + 7) for px, py in points]
    for axes, x, y, name in marks:
        best = None
        for offset, ha, va in SIDES:
            text = axes.annotate(name, (x, y[0]), xytext=offset, textcoords="offset points", ha=ha, va=va, fontsize=8,
                                 color=OTHER, zorder=5,
                                 arrowprops={"arrowstyle": "-", "lw": 0.5, "color": GREY, "shrinkA": 0, "shrinkB": 4}
                                 if max(map(abs, offset)) > 10 else None)
            text.set_in_layout(False)
            text.update_positions(figure.canvas.get_renderer())
            box = Text.get_window_extent(text)  # without its leader
            inside = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and axes.bbox.containsy(box.y0) and \
                axes.bbox.containsy(box.y1)
            hits = sum(box.overlaps(other) for other in taken[axes]) + 100 * (not inside)
            if best is None or hits < best[0]:
                if best:
                    best[1].remove()
                best = hits, text, box
            else:
                text.remove()
            if hits == 0:
                break
        best[1].set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        taken[axes].append(best[2])


def accuracy(study):
    """Nominal rate and honest bytes against accuracy, and against what it costs beside each study's own raw."""
    raw = study.raw("edge")
    if not raw:
        return None
    figure, ((top_rate, top_bytes), (low_rate, low_bytes)) = plt.subplots(2, 2, figsize=(11.5, 8.2), sharex="col",
                                                                         layout="constrained")
    low_bytes.sharey(low_rate)

    def rate(g):
        return g.one("nominal_forward")

    def bytes_(g):
        return g.bytes

    def reached(g):
        return g.mean, g.spread

    def cost(g):
        return g.to(study.beside(g))

    marks = []
    for axes, x, y, zero in ((top_rate, rate, reached, raw.mean), (top_bytes, bytes_, reached, raw.mean),
                             (low_rate, rate, cost, 0), (low_bytes, bytes_, cost, 0)):
        axes.axhline(zero, color="black", lw=1.2, zorder=2)
        if raw.spread:
            axes.axhspan(zero - raw.spread, zero + raw.spread, color="black", alpha=0.10, lw=0)
        curves(axes, study, x, y)
        sent = axes in (top_bytes, low_bytes)
        named = singles(axes, study, x, y, elsewhere=sent)
        marks += named if sent else []  # they stand in the same order on the left
    reference = collections.defaultdict(list)
    for r in study.reference("families"):
        reference[r["family"]].append((float(r["nominal"]), float(r["accuracy"])))
    for axes, zero in ((top_rate, 0), (low_rate, study.published_raw())):
        axes.axhline(study.published_raw() - zero, color=GREY, lw=1, ls=":", zorder=1) if not zero else None
        for name, points in reference.items():
            axes.plot(*zip(*((x, y - zero) for x, y in sorted(points))), color=GREY, marker=LOOK[name][1], ms=6, mfc="white",
                      lw=0.9, ls="--", zorder=1)
    log_rate(low_rate)
    log_bytes(low_bytes)
    low_rate.set_xlabel("nominal rate: share of 32-bit floats, indices and scales free")
    low_bytes.set_xlabel("bytes on the wire for each image trained, both directions")
    top_rate.set_ylabel("accuracy on the test set, %")
    low_rate.set_ylabel("to the same study's raw, points")
    top_rate.set_title("as the published study counts", fontsize=10.5)
    top_bytes.set_title("as sent", fontsize=10.5)
    least, most = top_bytes.get_ylim()
    top_bytes.set_ylim(min(least, most - 2), max(most, raw.mean + 0.2))
    handles = [Line2D([], [], color=c, marker=m, label=n) for n, (c, m) in LOOK.items() if study.of_family(n)]
    if any(not g.options for g in study.others()):
        handles.append(Line2D([], [], color=OTHER, marker="P", ls="none", label="other wires"))
    if any(not g.options for g in study.elsewhere()):
        handles.append(Line2D([], [], color=OTHER, marker="X", ls="none", label="other wires at another cut"))
    handles += [Line2D([], [], color="black", label="raw" + (" ± deviation" if raw.spread else "")),
                Line2D([], [], color=GREY, marker="o", mfc="white", ls="--", label="published: 200 epochs at width 1")]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    n = seeds_text([len(g.rows) for g in study.at("edge", "")])
    bars = "; bars: standard deviation" if any(g.spread for g in study.at("edge", "")) else ""
    figure.suptitle(f"MobileNetV2, cut edge, {recipe_text(study)}; {n}{bars}", fontsize=12)
    name_marks(figure, marks)
    return figure


def training(study):
    """Accuracy after each epoch, a panel a family, raw in each."""
    raw = study.raw("edge")
    if not raw:
        return None
    by_run = collections.defaultdict(dict)
    for e in study.epochs:
        by_run[e["run"]][int(e["epoch"])] = 100 * float(e["accuracy"])

    def line(axes, g, color, width, style="-"):
        histories = [by_run[r["run"]] for r in g.rows]
        epochs = sorted(histories[0])
        mean = [statistics.mean(h[e] for h in histories) for e in epochs]
        axes.plot(epochs, mean, color=color, lw=width, ls=style)
        if len(histories) > 1:
            axes.fill_between(epochs, [min(h[e] for h in histories) for e in epochs],
                              [max(h[e] for h in histories) for e in epochs], color=color, alpha=0.15, lw=0)
        return epochs[-1], mean[-1]

    panels = [(name, study.of_family(name), LOOK[name][0]) for name in FAMILIES]
    panels.append(("other wires", [g for g in study.others() if not g.options], OTHER))
    panels = [p for p in panels if p[1]]
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(max(7.5, 3.85 * columns), 3.3 * rows + 0.5), sharex=True, sharey=True,
                                squeeze=False, layout="constrained")
    for axes in grid.flat[len(panels):]:
        axes.set_visible(False)
    labels = []
    for axes, (name, groups, color) in zip(grid.flat, panels):
        ends = [(*line(axes, raw, "black", 1.2, ":"), "raw")]
        for i, g in enumerate(reversed(groups)):
            shade = matplotlib.colors.to_rgba(color, 1 - 0.6 * i / max(1, len(groups) - 1 or 1))
            ends.append((*line(axes, g, shade, 1.8), g.wire))
        labels.append((axes, ends))
        axes.set_title(name, fontsize=10.5)
    for axes, ends in labels:  # the height that they share is known now
        label_ends(axes, ends)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy on the test set, %")
    for column in range(columns):
        lowest = max(r for r in range(rows) if r * columns + column < len(panels))
        grid[lowest, column].set_xlabel("epoch")
        grid[lowest, column].tick_params(labelbottom=True)
    last = max(int(e["epoch"]) for e in study.epochs if e["run"] in {r["run"] for r in raw.rows})
    grid[0, 0].set_xlim(1, last * (1.08 + 0.0185 * max(len(g.wire) for _, groups, _ in panels for g in groups)))
    grid[0, 0].set_xticks(range(1, last + 1, max(1, last // 6)))
    n = seeds_text([len(g.rows) for _, groups, _ in panels for g in groups] + [len(raw.rows)])
    band = "; band: least to most" if any(len(g.rows) > 1 for _, groups, _ in panels for g in groups) else ""
    figure.suptitle(f"Cut edge, {recipe_text(study)}; {n}{band}", fontsize=12)
    return figure


def label_ends(axes, ends, gap=0.05):
    """Each curve's name at its end, moved apart where they would touch, none above the panel."""
    low, high = axes.get_ylim()
    gap *= high - low
    ends = sorted(ends, key=lambda e: e[1])
    at = [y for _, y, _ in ends]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + gap)
    at[-1] = min(at[-1], high - gap / 2)
    for i in range(len(at) - 2, -1, -1):
        at[i] = min(at[i], at[i + 1] - gap)
    for (x, y, text), place in zip(ends, at):
        axes.annotate(text, (x, y), xytext=(x * 1.04, place), va="center", fontsize=8, annotation_clip=False,
                      color="black" if text == "raw" else "#333333",
                      arrowprops={"arrowstyle": "-", "lw": 0.4, "color": GREY, "shrinkA": 0, "shrinkB": 0})


def cuts(study):
    """Accuracy and bytes at each cut, the published accuracies beside."""
    groups = [g for g in study.at(None, "") if g.cut in order]
    groups = [g for g in groups if len({o.cut for o in groups if o.wire == g.wire}) > 1]
    if not groups:
        return None
    present = [cut for cut in order if any(g.cut == cut for g in groups)]
    wires = sorted({g.wire for g in groups}, key=lambda w: -max(g.bytes for g in groups if g.wire == w))
    looks = {"raw": ("black", "s")} | dict(zip((w for w in wires if w != "raw"), [("#0072B2", "o"), ("#D55E00", "D"),
                                                                                  ("#009E73", "^"), ("#CC79A7", "v")]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 1.6 + 0.75 * len(present)), sharey=True, layout="constrained")
    for g in groups:
        color, marker = looks.get(g.wire, (OTHER, "P"))
        row = present.index(g.cut) + 0.14 * (wires.index(g.wire) - (len(wires) - 1) / 2)
        left.errorbar(g.mean, row, xerr=g.spread or 0, color=color, marker=marker, ms=6, capsize=3 if g.spread else 0, lw=1)
        right.plot(g.bytes, row, color=color, marker=marker, ms=6)
        right.annotate(kilo(g.bytes), (g.bytes, row), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
    shown = False
    for r in study.reference("cuts"):
        if r["cut"] in present and r["wire"] in wires:
            row = present.index(r["cut"]) + 0.14 * (wires.index(r["wire"]) - (len(wires) - 1) / 2)
            left.plot(float(r["accuracy"]), row, color=GREY, marker=looks.get(r["wire"], (OTHER, "P"))[1], mfc="white", ms=6, ls="none")
            shown = True
    raw = None if "raw" in wires else study.beside(groups[0])
    everywhere = [left.axvline(raw.mean, color="black", lw=1.2, zorder=1, label="raw, wherever it is cut")] if raw else []
    left.set_yticks(range(len(present)), [cut + (f"\n({order[cut]})" if order[cut] else "") for cut in present])
    left.set_ylim(len(present) - 0.5, -0.5)
    left.set_xlabel("accuracy on the test set, %")
    right.set_xlabel("bytes on the wire for each image trained, both directions")
    log_bytes(right)
    low, high = right.get_xlim()
    right.set_xlim(low, high * 1.6)
    handles = [Line2D([], [], color=c, marker=m, ls="none", label=w)
               for w in wires for c, m in [looks.get(w, (OTHER, "P"))]] + everywhere
    if shown:
        handles.append(Line2D([], [], color=GREY, marker="o", mfc="white", ls="none", label="published: 200 epochs at width 1"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.suptitle(f"Where to cut (first:last boundary): {recipe_text(study)}; "
                    f"{seeds_text([len(g.rows) for g in groups])}", fontsize=12)
    return figure


PICTURES = {"accuracy": accuracy, "training": training, "cuts": cuts}


def draw(name, study, folder, digest):
    """Writes NAME-RECIPE.svg and .png; None where the results do not suffice."""
    figure = PICTURES[name](study)
    if figure is None:
        return None
    files = [folder / f"{study.recipe}-{name}.{end}" for end in ("svg", "png")]
    figure.savefig(files[0], metadata={"Date": None, "Description": digest})
    figure.savefig(files[1], dpi=110, metadata={"Description": digest})
    plt.close(figure)
    return files
