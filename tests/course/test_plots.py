"""The figures: what is drawn where, and in the house's colours."""

import numpy as np
import pandas as pd
import pytest

from sapbert_utils.course.plots import COLOURS, bars, counts, curves, heatmap, histograms, maps, matrices


def rgb(artist):
    return tuple(round(255 * value) for value in artist.get_facecolor()[:3])


def code(colour):
    return tuple(int(colour[i: i + 2], 16) for i in (1, 3, 5))


def test_bars_stand_in_order_with_their_numbers_beyond_the_interval():
    (axes,) = bars({"a": 10, "b": -2}, "title", "acc@1", {"a": (8, 13)}, highlight=["b"], number="{:.2f}").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]  # from the bottom
    assert [bar.get_width() for bar in axes.patches] == [-2, 10]
    assert [rgb(bar) for bar in axes.patches] == [code(COLOURS[1]), code(COLOURS[0])]
    assert [(text.get_text(), text.xy[0], text.get_ha()) for text in axes.texts] == [
        ("-2.00", -2, "right"), ("10.00", 13, "left")]
    assert axes.lines[0].get_xdata().tolist() == [8, 13] and axes.get_xlabel() == "acc@1"


def test_curves_differ_in_colour_and_marker_and_have_a_legend_when_there_are_several():
    (axes,) = curves({name: ([1, 10, 100], [1, 2, 3]) for name in "abc"}, "title", "x", "y", log_x=True).axes
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 3 and axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]
    assert curves({"a": ([1], [2])}, "title", "x", "y").axes[0].get_legend() is None


def test_histograms_share_their_edges_and_have_the_area_one():
    (axes,) = histograms({"a": [0, 0, 1], "b": [3, 4]}, "title", "cosine", bins=4).axes
    assert axes.get_ylabel() == "density" and len(axes.patches) == 2
    for outline in axes.patches:
        x, y = outline.get_xy().T
        assert {0, 1, 2, 3, 4} == set(x.tolist())
        assert abs(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)) == pytest.approx(1)


def test_counts_are_points_on_logarithmic_axes():
    (axes,) = counts([1, 1, 1, 5, 2, 2], "title", "names", "concepts").axes
    assert axes.collections[0].get_offsets().tolist() == [[1, 3], [2, 2], [5, 1]]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert [axes.yaxis.get_major_formatter()(x) for x in (1, 50, 2000)] == ["1", "50", "2,000"]
    assert {1, 2, 5} <= set(axes.get_xticks())


def test_a_heatmap_writes_each_number_legibly_and_frames_what_is_outlined():
    table = pd.DataFrame([[0.0, 1.0], [2.0, 3.0]], index=["r", "s"], columns=["c", "d"])
    axes = heatmap(table, "title", "cosine", number="{:.1f}", outline=table.to_numpy() == 2).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.0", "1.0", "2.0", "3.0"]
    assert [text.get_color() for text in axes.texts][::3] == ["black", "white"]
    assert [(frame.get_x(), frame.get_y()) for frame in axes.patches] == [(-0.47, 0.53)]


def test_matrices_give_whole_numbers_the_colours_of_their_kinds():
    whole = np.array([[0, 1], [2, 0]])
    figure = matrices({"kept": whole, "cosine": whole / 2}, "title", ("positive", "negative"), "cosine")
    shown = figure.axes[0].images[0]
    colours = [tuple(round(255 * value) for value in shown.to_rgba(i)[:3]) for i in range(3)]
    assert colours == [(255, 255, 255), code(COLOURS[0]), code(COLOURS[4])]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["kept", "cosine"] and len(figure.axes) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["positive", "negative"]


def test_maps_draw_each_group_in_every_panel_and_the_rest_behind():
    points = np.arange(10.0).reshape(5, 2)
    groups = ["x", "other", "y", "x", "other"]
    figure = maps({"before": points, "after": -points}, groups, "title", {"after": "purity 90 %"})
    for axes, sign in zip(figure.axes, (1, -1)):
        behind, first, second = (drawn.get_offsets().tolist() for drawn in axes.collections)
        assert behind == (sign * points[[1, 4]]).tolist() and first == (sign * points[[0, 3]]).tolist()
        assert second == (sign * points[[2]]).tolist()
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "purity 90 %"]
    with pytest.raises(ValueError, match="9 groups, but only 8 colours .*merge some into 'other'"):
        maps({"one": np.zeros((9, 2))}, list("abcdefghi"), "title")
