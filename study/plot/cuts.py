"""The picture of where to cut."""
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from groups import CUTS
from style import GREY, OTHER, log_bytes, recipe_text, seeds_text
from tables import kilo


def draw(study):
    """What each cut costs and sends, beside the published costs."""
    found = [(g, points) for g in study.compared_cuts() if (points := g.to(study.beside(g)))]
    groups = [g for g, _ in found]
    if not groups:
        return None
    present = [cut for cut in CUTS if any(g.cut == cut for g in groups)]
    wires = sorted({g.wire for g in groups}, key=lambda w: -max(g.bytes for g in groups if g.wire == w))
    looks = dict(zip(wires, [("#0072B2", "o"), ("#D55E00", "D"), ("#009E73", "^"), ("#CC79A7", "v")]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 1.6 + 0.75 * len(present)), sharey=True, layout="constrained")
    for g, points in found:
        color, marker = looks.get(g.wire, (OTHER, "P"))
        row = present.index(g.cut) + 0.14 * (wires.index(g.wire) - (len(wires) - 1) / 2)
        left.errorbar(points[0], row, xerr=points[1] or 0, color=color, marker=marker, ms=6, capsize=3 if points[1] else 0, lw=1)
        right.plot(g.bytes, row, color=color, marker=marker, ms=6)
        right.annotate(kilo(g.bytes), (g.bytes, row), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
    shown = False
    for r in study.reference("cuts").itertuples():
        if r.cut in present and r.wire in wires:
            row = present.index(r.cut) + 0.14 * (wires.index(r.wire) - (len(wires) - 1) / 2)
            left.plot(r.accuracy - study.published_raw(), row, color=GREY, marker=looks.get(r.wire, (OTHER, "P"))[1], mfc="white",
                      ms=6, ls="none")
            shown = True
    everywhere = [left.axvline(0, color="black", lw=1.2, zorder=1, label="raw, wherever it is cut")]
    left.set_yticks(range(len(present)), [cut + (f"\n({CUTS[cut]})" if CUTS[cut] else "") for cut in present])
    left.set_ylim(len(present) - 0.5, -0.5)
    left.set_xlabel("to the same study's raw, points")
    right.set_xlabel("bytes on the wire for each image trained, both directions")
    log_bytes(right)
    low, high = right.get_xlim()
    right.set_xlim(low, high * 1.6)
    handles = [Line2D([], [], color=c, marker=m, ls="none", label=w)
               for w in wires for c, m in [looks.get(w, (OTHER, "P"))]] + everywhere
    if shown:
        handles.append(Line2D([], [], color=GREY, marker="o", mfc="white", ls="none", label="published: 200 epochs at width 1"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.suptitle(f"Where to cut (first:last boundary): {recipe_text(study, groups[0])}; "
                    f"{seeds_text([len(g.rows) for g in groups])}", fontsize=12)
    return figure
