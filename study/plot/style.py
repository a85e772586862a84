"""What the pictures share: matplotlib settings, colours, axes, and wording of titles."""
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from tables import kilo  # noqa: E402

# Okabe and Ito's colours, which the colour-blind can tell apart too, each with its own marker.
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


def recipe_text(study, g=None):
    """For group `g`, else for the runs without options."""
    rows = g.rows if g else study.runs.sort_values("options", kind="stable")  # "" comes first
    return f"recipe {study.recipe} ({rows.epochs.iloc[0]} epochs), {'/'.join(study.values('data'))}"


def error_bar(axes, x, y, color, marker):
    """Draws y, a pair (mean, spread or None)."""
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
