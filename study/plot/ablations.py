"""The picture of what each addition to a wire is worth."""
import matplotlib.pyplot as plt

from style import GREY, LOOK, seeds_text

COLORS = [color for color, _ in LOOK.values()]


def draw(study):
    """Points gained over the plainer wire on the same seeds, from many bits to few; each small circle is a seed."""
    found = study.gains()
    if not found:
        return None
    plains = list(dict.fromkeys(plain.wire for plain, *_ in found))
    figure, axes = plt.subplots(figsize=(9.5, 1.7 + 0.36 * (len(found) + len(plains))), layout="constrained")
    row, labels, heads = 0, [], []
    for wire in plains:
        color = COLORS[plains.index(wire) % len(COLORS)]
        some = [f for f in found if f[0].wire == wire]
        heads.append((row, f"to {wire}, {some[0][0].bits:.3g} bits an element", color))
        row += 1
        for plain, g, what, (mean, _) in some:
            seeds = g.above(study.partner(g, plain.rows))
            axes.plot(seeds, [row] * len(seeds), color=color, marker="o", ms=4, mfc="white", ls="none", zorder=3)
            axes.plot(mean, row, color=color, marker="|", ms=14, mew=2.5, zorder=4)
            axes.plot([0, mean], [row, row], color=color, lw=5, alpha=0.3, solid_capstyle="butt", zorder=2)
            lines = what.replace("; ", ";\n")
            labels.append((row, f"{lines} ({g.bits:.3g} bits, {g.one('epochs')} epochs)"))
            row += 1
    axes.axvline(0, color="black", lw=1.2, zorder=1)
    axes.set_yticks([y for y, _ in labels], [text for _, text in labels])
    axes.set_ylim(row - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for y, text, color in heads:
        axes.annotate(text, (0, y), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points", va="center",
                      fontsize=9.5, fontweight="bold", color=color, bbox={"fc": "white", "ec": "none", "pad": 1})
        axes.axhline(y - 0.5, color=GREY, lw=0.5) if y else None
    figure.supxlabel("accuracy gained over the plainer wire, points; bar: mean, circle: a seed", fontsize=10)
    figure.suptitle(f"What an addition is worth: recipe {study.recipe}, {'/'.join(study.values('data'))}, cut edge; "
                    f"{seeds_text([len(g.above(p)) for p, g, *_ in found])}", fontsize=12)
    return figure
