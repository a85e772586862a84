"""The study's main picture: accuracy against nominal rate and against bytes."""
import matplotlib.pyplot as plt
import textalloc
from matplotlib.lines import Line2D

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


def name_marks(figure, marks):
    """Writes each name near its mark, where it overlaps no other name, mark, curve or bar."""
    figure.draw_without_rendering()  # places what the names must avoid
    for axes in dict.fromkeys(axes for axes, *_ in marks):
        level = [line for line in axes.get_lines() if line.get_transform() != axes.transData]
        curves = [line.get_xydata().T for line in axes.get_lines() if line not in level]
        bars = [segment.T for bar in axes.collections for segment in getattr(bar, "get_segments", list)()]
        avoid = [*curves, *bars, *((axes.get_xlim(), line.get_ydata()) for line in level)]
        avoid = [line for line in avoid if len(line[0]) > 1]
        x, y, names = zip(*((x, y[0], name) for at, x, y, name in marks if at is axes))
        textalloc.allocate(axes, x, y, names, x_scatter=[x for xs, _ in curves for x in xs],
                           y_scatter=[y for _, ys in curves for y in ys], x_lines=[xs for xs, _ in avoid],
                           y_lines=[ys for _, ys in avoid], textsize=8, textcolor=OTHER, linecolor=GREY, linewidth=0.5, zorder=5)


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
        return g.reached

    def cost(g):
        return g.to(study.beside(g))

    marks, worth, (raw_mean, raw_spread) = [], study.frontier(), raw.reached
    for axes, x, y, zero in ((top_rate, rate, reached, raw_mean), (top_bytes, bytes_, reached, raw_mean),
                             (low_rate, rate, cost, 0), (low_bytes, bytes_, cost, 0)):
        axes.axhline(zero, color="black", lw=1.2, zorder=2)
        if raw_spread:
            axes.axhspan(zero - raw_spread, zero + raw_spread, color="black", alpha=0.10, lw=0)
        curves(axes, study, x, y)
        sent = axes in (top_bytes, low_bytes)
        named = singles(axes, study, x, y, elsewhere=sent, worth=worth)
        marks += named if sent else []  # on the left they come in the same order
    reference = study.reference("families").astype({"nominal": float}).groupby("family", sort=False)
    for axes, zero in ((top_rate, 0), (low_rate, study.published_raw())):
        axes.axhline(study.published_raw() - zero, color=GREY, lw=1, ls=":", zorder=1) if not zero else None
        for name, points in reference:
            axes.plot(points.nominal, points.accuracy - zero, color=GREY, marker=LOOK[name][1], ms=6, mfc="white",
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
    top_bytes.set_ylim(min(least, most - 2), max(most, raw_mean + 0.2))
    handles = [Line2D([], [], color=c, marker=m, label=n) for n, (c, m) in LOOK.items() if study.of_family(n)]
    if any(not g.options for g in study.others()):
        handles.append(Line2D([], [], color=OTHER, marker="P", ls="none", label="other wires"))
    if any(not g.options for g in study.elsewhere()):
        handles.append(Line2D([], [], color=OTHER, marker="X", ls="none", label="other wires at another cut"))
    handles += [Line2D([], [], color="black", label="raw" + (" ± deviation" if raw_spread else "")),
                Line2D([], [], color=GREY, marker="o", mfc="white", ls="--", label="published: 200 epochs at width 1")]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    n = seeds_text([len(g.rows) for g in study.at("edge", "")])
    bars = "; bars: standard deviation" if any(len(g.rows) > 1 for g in study.at("edge", "")) else ""
    figure.suptitle(f"MobileNetV2, cut edge, {recipe_text(study)}; {n}{bars}", fontsize=12)
    name_marks(figure, marks)
    return figure
