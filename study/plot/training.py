"""The picture of accuracy after each epoch."""
import matplotlib.colors
import matplotlib.pyplot as plt

from groups import FAMILIES
from style import GREY, LOOK, OTHER, recipe_text, seeds_text


def draw(study):
    """Accuracy after each epoch: one panel per family, with raw in each."""
    by_run = study.epochs.pivot(index="epoch", columns="run", values="accuracy")

    def told(g):
        """The epochs that all of the group's runs have; a run whose epochs were lost is left out."""
        return by_run[by_run.columns.intersection(g.rows.run)].dropna()

    raw = study.raw("edge")
    if not raw or told(raw).empty:
        return None

    def line(axes, g, color, width, style="-"):
        runs = told(g)
        mean = runs.mean(axis=1)
        axes.plot(mean.index, mean, color=color, lw=width, ls=style)
        if runs.shape[1] > 1:
            axes.fill_between(runs.index, runs.min(axis=1), runs.max(axis=1), color=color, alpha=0.15, lw=0)
        return mean.index[-1], mean.iloc[-1]

    panels = [(name, study.of_family(name), LOOK[name][0]) for name in FAMILIES]
    panels.append(("other wires", [g for g in study.others() if not g.options], OTHER))
    panels = [(title, found, color) for title, groups, color in panels if (found := [g for g in groups if not told(g).empty])]
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
    for axes, ends in labels:  # now their shared y range is known
        label_ends(axes, ends)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy on the test set, %")
    for column in range(columns):
        lowest = max(r for r in range(rows) if r * columns + column < len(panels))
        grid[lowest, column].set_xlabel("epoch")
        grid[lowest, column].tick_params(labelbottom=True)
    last = by_run[by_run.columns.intersection(raw.rows.run)].dropna(how="all").index.max()
    grid[0, 0].set_xlim(1, last * (1.08 + 0.0185 * max(len(g.wire) for _, groups, _ in panels for g in groups)))
    grid[0, 0].set_xticks(range(1, last + 1, max(1, last // 6)))
    n = seeds_text([len(g.rows) for _, groups, _ in panels for g in groups] + [len(raw.rows)])
    band = "; band: least to most" if any(len(g.rows) > 1 for _, groups, _ in panels for g in groups) else ""
    figure.suptitle(f"Cut edge, {recipe_text(study)}; {n}{band}", fontsize=12)
    return figure


def label_ends(axes, ends, gap=0.05):
    """Writes each curve's name at its end, moved apart where names would touch, none above the panel."""
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
