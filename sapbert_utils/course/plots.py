"""Every figure of the course: plain arrays and tables in, a matplotlib Figure out.

One house style: white face, Okabe-Ito colours with marker shapes, a title that says the finding.
"""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.colors
import matplotlib.patches
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
# Okabe-Ito, with wine in place of its yellow, which is lost on white
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE = {
    "figure.dpi": 110, "savefig.dpi": 110, "savefig.facecolor": "white", "figure.facecolor": "white",
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": 12,
    "axes.titleweight": "bold", "axes.labelsize": 10, "font.size": 10, "legend.frameon": False,
    "font.sans-serif": ["DejaVu Sans"], "axes.prop_cycle": mpl.cycler(color=COLOURS),
}


def _figure(title: str, width: float = 8.0, height: float = 4.5, columns: int = 1) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure, axes


def bars(values: Mapping[str, float], title: str, xlabel: str,
         intervals: Mapping[str, tuple[float, float]] | None = None, highlight: Sequence[str] = (),
         number: str = "{:,.1f}") -> Figure:
    """Horizontal bars, label -> value, with optional (low, high) intervals; ``highlight`` bars are orange."""
    figure, (axes,) = _figure(title, height=0.9 + 0.38 * len(values))
    labels = list(values)[::-1]
    axes.barh(labels, [values[x] for x in labels], color=[COLOURS[1] if x in highlight else COLOURS[0] for x in labels])
    for x, (low, high) in (intervals or {}).items():
        axes.plot([low, high], [x, x], color="black", linewidth=1.5, marker="|")
    for x in labels:  # the number stands beyond the bar and its interval, on the side to which the bar points
        right = values[x] >= 0
        ends = [values[x], *(intervals or {}).get(x, ())]
        axes.annotate(number.format(values[x]), (max(ends) if right else min(ends), x), xytext=(5 if right else -5, 0),
                      textcoords="offset points", va="center", ha="left" if right else "right")
    axes.set_xlabel(xlabel)
    axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,g}"))
    axes.margins(x=0.14)
    return figure


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str, xlabel: str, ylabel: str,
           log_x: bool = False) -> Figure:
    """Lines, label -> (x, y), told apart by colour and by marker."""
    figure, (axes,) = _figure(title)
    for (label, (x, y)), colour, marker in zip(series.items(), COLOURS, MARKERS):
        axes.plot(x, y, color=colour, marker=marker, markevery=max(1, len(x) // 12), label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if log_x else "linear")
    if len(series) > 1:
        axes.legend()
    return figure


def histograms(groups: Mapping[str, Sequence[float]], title: str, xlabel: str, bins: int = 50, density: bool = True,
               lines: Mapping[str, float] | None = None) -> Figure:
    """Overlaid step histograms, label -> values; ``lines`` are dashed verticals, label -> x."""
    figure, (axes,) = _figure(title)
    edges = np.histogram_bin_edges(np.concatenate([np.asarray(g, float) for g in groups.values()]), bins)
    for (label, values), colour, hatch in zip(groups.items(), COLOURS, ("", "//", "..", "xx")):
        axes.hist(values, edges, density=density, histtype="stepfilled", alpha=0.45, color=colour, label=label,
                  hatch=hatch, edgecolor=colour)
    for label, x in (lines or {}).items():
        axes.axvline(x, color="black", linestyle="--", linewidth=1)
        axes.annotate(label, (x, 0.97), xycoords=("data", "axes fraction"), xytext=(4, 0), va="top",
                      textcoords="offset points")
    axes.set(xlabel=xlabel, ylabel="density" if density else "count")
    axes.legend()
    return figure


def counts(values: Sequence[int], title: str, xlabel: str, ylabel: str) -> Figure:
    """How often each whole number occurs, on logarithmic axes (names a concept, concepts a name)."""
    figure, (axes,) = _figure(title)
    x, y = np.unique(np.asarray(values), return_counts=True)
    axes.scatter(x, y, s=18, color=COLOURS[0])
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    return figure


def heatmap(table: pd.DataFrame, title: str, label: str, number: str = "{:.1f}", centre: float | None = None,
            outline: np.ndarray | None = None) -> Figure:
    """A table as coloured cells with their numbers; ``outline`` (same shape, boolean) frames cells in orange.

    With ``centre`` the colours diverge around it, else they run from light to dark.
    """
    figure, (axes,) = _figure(title, width=2.6 + 0.85 * table.shape[1], height=1.4 + 0.5 * table.shape[0])
    values = table.to_numpy(float)
    span = None if centre is None else float(np.nanmax(np.abs(values - centre)))
    image = axes.imshow(values, aspect="auto", cmap="Blues" if centre is None else "PuOr_r",
                        vmin=None if span is None else centre - span, vmax=None if span is None else centre + span)
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(table.shape[0]), table.index)
    for (i, j), value in np.ndenumerate(values):
        red, green, blue, _ = image.to_rgba(value)
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        axes.text(j, i, number.format(value), ha="center", va="center", color="white" if dark else "black", fontsize=9)
        if outline is not None and outline[i, j]:
            axes.add_patch(mpl.patches.Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, edgecolor=COLOURS[1],
                                                 linewidth=2.5))
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label=label, shrink=0.8)
    return figure


def matrices(panels: Mapping[str, np.ndarray], title: str, kinds: Sequence[str], label: str = "") -> Figure:
    """Square matrices side by side, panel title -> (n, n): whole numbers as coloured cells (0 white, 1 and on as
    ``kinds`` names them), other numbers from light to dark with a bar named ``label``."""
    figure, axes = _figure(title, width=0.9 + 3.6 * len(panels), height=4.5, columns=len(panels))
    colours = mpl.colors.ListedColormap(["white", COLOURS[0], COLOURS[4], *COLOURS[5:]][: len(kinds) + 1])
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        if np.issubdtype(values.dtype, np.integer):
            axis.imshow(values, cmap=colours, vmin=-0.5, vmax=len(kinds) + 0.5, interpolation="nearest")
        else:
            image = axis.imshow(values, cmap="Greys", interpolation="nearest")
            figure.colorbar(image, ax=axis, label=label, shrink=0.7)
        axis.set_title(name, fontsize=11)
        axis.set(xticks=[], yticks=[])
    handles = [mpl.patches.Patch(color=colours(i), label=kind) for i, kind in enumerate(kinds, 1)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds))
    return figure


def maps(panels: Mapping[str, np.ndarray], groups: Sequence[str], title: str, background: str = "other",
         captions: Mapping[str, str] | None = None) -> Figure:
    """Maps side by side, panel title -> (n, 2) coordinates of the same n names, coloured by ``groups`` (n,).

    The group ``background`` is drawn small and grey underneath. At most eight other groups. ``captions`` stand
    under the panels (the numbers that the picture is supposed to show).
    """
    figure, axes = _figure(title, width=5.2 * len(panels), height=5.6, columns=len(panels))
    groups = np.asarray(groups)
    shown = [g for g in dict.fromkeys(groups.tolist()) if g != background]
    if len(shown) > len(COLOURS):
        raise ValueError(f"{len(shown)} groups, but only {len(COLOURS)} colours can be told apart: merge some into "
                         f"{background!r}")
    for axis, (name, points) in zip(axes, panels.items(), strict=True):
        axis.scatter(*points[groups == background].T, s=3, color="#BBBBBB", linewidths=0, rasterized=True)
        for group, colour, marker in zip(shown, COLOURS, MARKERS):
            axis.scatter(*points[groups == group].T, s=26, color=colour, marker=marker, label=group, linewidths=0.3,
                         edgecolors="white")
        axis.set_title(name, fontsize=11)
        axis.set(xticks=[], yticks=[], xlabel=(captions or {}).get(name, ""))
        axis.set_aspect("equal", adjustable="datalim")
        axis.spines[:].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(shown))))
    return figure


def interactive_map(panels: Mapping[str, np.ndarray], names: Sequence[str], cuis: Sequence[str], sources: Sequence[str],
                    groups: Sequence[str], title: str, background: str = "other",
                    captions: Mapping[str, str] | None = None) -> str:
    """One HTML page, complete in itself: the maps of :func:`maps` to switch between, hover over, zoom and search.

    The page opens from disk without a network. Coordinates are kept to four digits.
    """
    groups = list(groups)
    labels = [g for g in dict.fromkeys(groups) if g != background]
    points = {}
    for name, values in panels.items():
        low, high = values.min(0), values.max(0)
        points[name] = np.round((values - (low + high) / 2) / (high - low).max(), 4).tolist()
    data = {"points": points, "names": list(names), "cuis": list(cuis), "sources": list(sources), "labels": labels,
            "groups": [labels.index(g) if g != background else -1 for g in groups],
            "colours": [COLOURS[i % len(COLOURS)] for i in range(len(labels))], "captions": dict(captions or {})}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")  # ends no script element
    page = (Path(__file__).parent / "webmap.html").read_text(encoding="utf-8")
    return page.replace("{{title}}", html.escape(title)).replace("{{data}}", text)
