"""The study's main picture: accuracy against nominal rate and against bytes."""
import collections

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from style import GREY, LOOK, OTHER, error_bar, log_bytes, log_rate, recipe_text, seeds_text


def curves(axes, study, x, y):
    for name, (color, marker) in LOOK.items():
        groups = [g for g in study.of_family(name) if y(g) is not None]
        axes.plot([x(g) for g in groups], [y(g)[0] for g in groups], color=color, lw=1.6)
        for g in groups:
            error_bar(axes, x(g), y(g), color, marker)


def singles(axes, study, x, y, elsewhere, worth):
    """Draws the wires that the published study lacks; with `elsewhere`, those at other cuts too. Returns where to write
    the names of those in `worth`."""
    found = [(g, "P") for g in study.others()] + [(g, "X") for g in study.elsewhere() if elsewhere]
    found = [(g, marker) for g, marker in found if g.options == "" and y(g) is not None]
    for g, marker in found:
        error_bar(axes, x(g), y(g), OTHER, marker)
    return [(axes, x(g), y(g), g.wire if marker == "P" else f"{g.cut}: {g.wire}") for g, marker in found if g in worth]


# Positions of a name beside its mark, best first: offset in points, horizontal and vertical alignment.
SIDES = [((0, 7), "center", "bottom"), ((0, -7), "center", "top"), ((8, 0), "left", "center"), ((-8, 0), "right", "center"),
         ((7, 7), "left", "bottom"), ((-7, 7), "right", "bottom"), ((7, -7), "left", "top"), ((-7, -7), "right", "top"),
         ((0, 20), "center", "bottom"), ((0, -20), "center", "top"),
         *(((x, y), "center" if x == 0 else "left" if x > 0 else "right", "bottom" if y > 0 else "top")
           for y in (-20, 20, -34, 34, -48, 48) for x in (20, -20, 0, 40, -40))]


def name_marks(figure, marks):
    """Writes each name at the first position beside its mark that stays inside and overlaps no other name or mark."""
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
            box = Text.get_window_extent(text)  # without its leader line
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


def draw(study):
    """Accuracy, and its difference to the same study's raw, against nominal rate and against honest bytes."""
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

    marks, worth = [], study.frontier()
    for axes, x, y, zero in ((top_rate, rate, reached, raw.mean), (top_bytes, bytes_, reached, raw.mean),
                             (low_rate, rate, cost, 0), (low_bytes, bytes_, cost, 0)):
        axes.axhline(zero, color="black", lw=1.2, zorder=2)
        if raw.spread:
            axes.axhspan(zero - raw.spread, zero + raw.spread, color="black", alpha=0.10, lw=0)
        curves(axes, study, x, y)
        sent = axes in (top_bytes, low_bytes)
        named = singles(axes, study, x, y, elsewhere=sent, worth=worth)
        marks += named if sent else []  # on the left they come in the same order
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
