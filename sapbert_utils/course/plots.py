"""Every figure of the course: plain arrays and tables in, a matplotlib Figure out.

All have one style: white background, Okabe-Ito colours, marker shapes, the finding as the title.
"""

import html
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colors, patches, rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe-Ito, with wine instead of its yellow, which is hard to see on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # for readers who can't tell the colours apart
BACKGROUND = "other"  # the group of a map's names that are drawn small and grey
STYLE = {"figure.dpi": 110, "figure.facecolor": "white", "axes.spines.top": False, "font.size": 10,
         "axes.spines.right": False, "axes.labelsize": 10, "font.sans-serif": ["DejaVu Sans"]}


def _figure(title: str, width: float = 8.0, height: float = 4.5,
            panels: Collection[str] = ()) -> tuple[Figure, list[Axes]]:
    """Make a figure with one place to draw, or one for each panel (over three: two by two)."""
    count = len(panels) or 1
    columns, scale = (count, 1.0) if count <= 3 else (2, 0.8)
    rows = -(-count // columns)
    with rc_context(STYLE):
        figure = Figure((columns * width * scale, rows * height * scale), layout="constrained")
        axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    for axis, name in zip(axes, panels):
        axis.set_title(name, fontsize=11)
        axis.set(xticks=[], yticks=[])
    return figure, axes


def bars(values: Mapping[str, float], title: str, xlabel: str,
         intervals: Mapping[str, tuple[float, float]] | None = None,
         highlight: Sequence[str] = (), number: str = "{:,.1f}") -> Figure:
    """Horizontal bars, label -> value, with (low, high) intervals; highlighted ones are orange."""
    figure, (axes,) = _figure(title, height=0.9 + 0.38 * len(values))
    intervals = intervals or {}
    labels = list(values)[::-1]  # matplotlib draws from the bottom
    colours = [COLOURS[1] if x in highlight else COLOURS[0] for x in labels]
    axes.barh(labels, [values[x] for x in labels], color=colours)
    for x, (low, high) in intervals.items():
        axes.plot([low, high], [x, x], color="black", linewidth=1.5, marker="|")
    for x in labels:
        # put the number past the bar and its interval, on the side to which the bar points
        ends = [values[x], *intervals.get(x, ())]
        end, shift, side = (max(ends), 5, "left") if values[x] >= 0 else (min(ends), -5, "right")
        axes.annotate(number.format(values[x]), (end, x), xytext=(shift, 0),
                      textcoords="offset points", va="center", ha=side)
    axes.set_xlabel(xlabel)
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
    axes.margins(x=0.14)  # room for the numbers
    return figure


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str, xlabel: str,
           ylabel: str, log_x: bool = False) -> Figure:
    """Lines, label -> (x, y), told apart by colour and by marker."""
    figure, (axes,) = _figure(title)
    for (label, (x, y)), colour, marker in zip(series.items(), COLOURS, MARKERS):
        every = max(1, len(x) // 12)  # more markers would hide the line
        axes.plot(x, y, color=colour, marker=marker, markevery=every, label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if log_x:
        _logarithmic(axes, "x")
    if len(series) > 1:
        axes.legend()
    return figure


def _logarithmic(axes: Axes, *which: str) -> None:
    """Make axes logarithmic, with ticks that read 1, 2, 5, 10."""
    axes.set(**{f"{name}scale": "log" for name in which})
    for axis in (getattr(axes, f"{name}axis") for name in which):
        axis.set(major_locator=ticker.LogLocator(subs=(1, 2, 5)),
                 major_formatter=ticker.StrMethodFormatter("{x:,g}"),
                 minor_locator=ticker.NullLocator())


def histograms(groups: Mapping[str, Sequence[float]], title: str, xlabel: str,
               bins: int = 50) -> Figure:
    """Overlaid histograms of densities, label -> values, on the same edges."""
    figure, (axes,) = _figure(title)
    everything = np.concatenate([np.asarray(values, float) for values in groups.values()])
    edges = np.histogram_bin_edges(everything, bins)
    for (label, values), colour, hatch in zip(groups.items(), COLOURS, ("", "//", "..", "xx")):
        axes.hist(values, edges.tolist(), density=True, histtype="stepfilled", alpha=0.45,
                  color=colour, label=label, hatch=hatch, edgecolor=colour)
    axes.set(xlabel=xlabel, ylabel="density")
    axes.legend()
    return figure


def counts(values: Sequence[int], title: str, xlabel: str, ylabel: str) -> Figure:
    """How often each whole number occurs, on logarithmic axes."""
    figure, (axes,) = _figure(title)
    x, y = np.unique(np.asarray(values), return_counts=True)
    axes.scatter(x, y, s=18, color=COLOURS[0])
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _logarithmic(axes, "x", "y")
    return figure


def heatmap(table: pd.DataFrame, title: str, label: str, number: str = "{:.1f}",
            outline: np.ndarray | None = None) -> Figure:
    """Draw a table as coloured cells with their numbers; ``label`` says what the numbers are.

    Cells that are true in ``outline``, (rows, columns) bool, are framed in orange.
    """
    rows, columns = table.shape
    figure, (axes,) = _figure(title, width=2.6 + 0.85 * columns, height=1.4 + 0.5 * rows)
    values = table.to_numpy(float)
    image = axes.imshow(values, aspect="auto", cmap="Blues")
    axes.set_xticks(range(columns), table.columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(rows), table.index)
    for (i, j), value in np.ndenumerate(values):
        red, green, blue, _ = image.to_rgba(value)
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5  # brightness as the eye sees it
        axes.text(j, i, number.format(value), ha="center", va="center", fontsize=9,
                  color="white" if dark else "black")
        if outline is not None and outline[i, j]:
            corner = (j - 0.47, i - 0.47)  # a little inside the cell, so that neighbours fit
            axes.add_patch(patches.Rectangle(corner, 0.94, 0.94, fill=False, linewidth=2.5,
                                             edgecolor=COLOURS[1]))
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label=label, shrink=0.8)
    return figure


def matrices(panels: Mapping[str, np.ndarray], title: str, kinds: Sequence[str],
             label: str = "") -> Figure:
    """Square matrices side by side, panel title -> (n, n).

    Whole numbers become coloured cells: white for 0, and the colours of ``kinds`` from 1 on. Other
    numbers run from light to dark, with a colour bar named ``label``.
    """
    figure, axes = _figure(title, 4.0, 4.8, panels)
    shades = ["white", COLOURS[0], COLOURS[4], *COLOURS[5:]]
    palette = colors.ListedColormap(shades[: len(kinds) + 1])
    for axis, values in zip(axes, panels.values()):
        axis.set(xlabel="the other name", ylabel="anchor")
        if np.issubdtype(values.dtype, np.integer):
            top = len(kinds) + 0.5  # half way to the next number, so that each gets its own colour
            axis.imshow(values, cmap=palette, vmin=-0.5, vmax=top, interpolation="nearest")
        else:
            image = axis.imshow(values, cmap="Greys", interpolation="nearest")
            figure.colorbar(image, ax=axis, label=label, shrink=0.7)
    handles = [patches.Patch(color=palette(i), label=kind) for i, kind in enumerate(kinds, 1)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds))
    return figure


def maps(panels: Mapping[str, np.ndarray], groups: Sequence[str], title: str,
         captions: Mapping[str, str] | None = None) -> Figure:
    """Maps of the same n names side by side, panel title -> (n, 2), coloured by ``groups`` (n,).

    There may be eight groups besides ``BACKGROUND``. The captions go below the panels.
    """
    figure, axes = _figure(title, 5.2, 5.6, panels)
    group_of = np.asarray(groups)
    shown = [group for group in dict.fromkeys(group_of.tolist()) if group != BACKGROUND]
    if len(shown) > len(COLOURS):
        raise ValueError(f"{len(shown)} groups, but only {len(COLOURS)} colours can be told apart: "
                         f"merge some into {BACKGROUND!r}")
    for axis, (name, points) in zip(axes, panels.items()):
        x, y = points.T
        behind = group_of == BACKGROUND
        axis.scatter(x[behind], y[behind], s=3, color="#BBBBBB", linewidths=0, rasterized=True)
        for group, colour, marker in zip(shown, COLOURS, MARKERS):
            chosen = group_of == group
            axis.scatter(x[chosen], y[chosen], s=26, color=colour, marker=marker, label=group,
                         linewidths=0.3, edgecolors="white")
        axis.set_xlabel((captions or {}).get(name, ""))
        axis.set_aspect("equal", adjustable="datalim")  # distances mean the same in x and y
        axis.spines[:].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    columns = min(4, max(1, len(shown)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    return figure


def interactive_map(panels: Mapping[str, np.ndarray], names: Sequence[str], cuis: Sequence[str],
                    sources: Sequence[str], groups: Sequence[str], title: str,
                    captions: Mapping[str, str] | None = None) -> str:
    """The maps of :func:`maps` as one HTML page, to switch, hover over, zoom and search.

    The page opens from disk without a network. All sequences have (n,) entries.
    """
    points = {}
    for name, values in panels.items():
        low, high = values.min(0), values.max(0)
        scaled = (values - (low + high) / 2) / (high - low).max()
        points[name] = np.round(scaled, 4).tolist()  # four digits keep the page small
    labels = [group for group in dict.fromkeys(groups) if group != BACKGROUND]
    number = {label: i for i, label in enumerate(labels)}
    data = {"points": points, "names": list(names), "cuis": list(cuis), "sources": list(sources),
            "labels": labels, "groups": [number.get(group, -1) for group in groups],
            "colours": [COLOURS[i % len(COLOURS)] for i in range(len(labels))],
            "captions": dict(captions or {})}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("</", "<\\/")  # else a name with </script> in it would end the data
    page = (Path(__file__).parent / "webmap.html").read_text(encoding="utf-8")
    return page.replace("{{title}}", html.escape(title)).replace("{{data}}", text)
