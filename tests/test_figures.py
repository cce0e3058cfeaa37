"""Figures draw what they are given: axes, units, labels, and distinguishable curves."""

import pytest
import torch

from dpbook_utils import figures

T = torch.linspace(1, 10, 50)


def test_curves_have_labels_units_and_their_own_dash():
    methods = [f"method {i}" for i in range(1, 8)]
    figure = figures.curves({method: (T, T**i) for i, method in enumerate(methods, 1)}, xlabel="time [s]",
                            ylabel="error [m/s]", ylog=True, lines={"published": 3.0})
    axis, = figure.axes
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == ("time [s]", "error [m/s]", "log")
    drawn = axis.get_lines()
    assert len({(line.get_color(), str(line._dash_pattern)) for line in drawn[:7]}) == 7
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*methods, "published"]


def test_curves_in_panels_share_the_y_axis():
    figure = figures.curves({"left": {"a": (T, T)}, "right": {"a": (T, 2 * T, T, 3 * T)}},
                            xlabel=["t [s]", "updates"], ylabel="loss")
    assert [axis.get_title() for axis in figure.axes] == ["left", "right"]
    assert [axis.get_xlabel() for axis in figure.axes] == ["t [s]", "updates"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert len(figure.axes[1].collections) == 1  # the band


def test_small_multiples_stand_in_rows_with_one_legend():
    panels = {f"method {i}": {"P": (T, T), "this": (T, T + i)} for i in range(5)}
    figure = figures.curves(panels, xlabel="step", ylabel="error", columns=3, lines={"growth": (T, T**2)})
    rows = [axis.get_subplotspec().rowspan.start for axis in figure.axes if axis.get_visible()]
    assert rows == [0, 0, 0, 1, 1]
    assert [axis.get_xlabel() for axis in figure.axes[:5]] == ["", "", "step", "step", "step"]  # lowest of each column
    assert [axis.get_ylabel() for axis in figure.axes[:5]] == ["error", "", "", "error", ""]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["P", "this", "growth"]
    assert all(len(axis.get_lines()) == 3 for axis in figure.axes[:5])


def test_less_than_two_decades_have_plain_numbers():
    updates, error = torch.tensor([1500.0, 6000.0, 24000.0]), torch.tensor([0.08, 0.05, 0.03])
    axis, = figures.curves({"ONE": (updates, error)}, xlabel="updates", ylabel="error", xlog=True, ylog=True).axes
    axis.figure.canvas.draw()
    written = {text.get_text() for text in axis.get_xticklabels() + axis.get_yticklabels()}
    assert {"2000", "5000", "10000", "0.05"} <= written and not any("10^" in text for text in written)


EFFECTS = {"WIG / ONE": (0.8, 0.7, 0.9, [0.75, 0.85]), "NOG / ONE": (1.1, 0.95, 1.3)}


def test_a_forest_shows_values_intervals_seeds_and_the_line():
    axis, = figures.forest(EFFECTS, xlabel="ratio", others={"published": {"WIG / ONE": 0.5}}).axes
    above = [(text.get_text(), text.xy[1]) for text in axis.texts if ":" in text.get_text()]
    assert [text for text, _ in above] == ["WIG / ONE: 0.80", "NOG / ONE: 1.10"] and above[0][1] < above[1][1]
    assert axis.get_ylim()[0] > axis.get_ylim()[1] and axis.get_xscale() == "log"
    marks = {mark: [line for line in axis.get_lines() if line.get_marker() == mark] for mark in "oDs"}
    assert [list(line.get_xdata()) for line in marks["o"]] == [[0.75, 0.85], []]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in marks["D"]] == [(0.5, 0)]
    assert {tuple(line.get_xdata()) for line in axis.get_lines()} > {(0.7, 0.9), (0.95, 1.3)}
    assert [text.get_text() for text in axis.texts if ":" not in text.get_text()] == ["0.50"]
    filled = [line.get_markerfacecolor() for line in marks["s"]]
    assert filled == [figures.COLOURS[0], "white"]  # an interval that holds the line is open


def test_a_forest_marks_what_is_undecided_and_what_counts_as_equal():
    """As a verdict asks: by its readings, with a band for each row; differences on a linear axis around zero."""
    axis, = figures.forest({"a" * 120: (0.8, 0.7, 0.9), "b": (1.1, 0.95, 1.3)}, xlabel="ratio", undecided=["a" * 120],
                           bands={"b": (1 / 1.05, 1.05)}).axes
    marks = [line for line in axis.get_lines() if line.get_marker() == "s"]
    assert [line.get_markerfacecolor() for line in marks] == ["white", figures.COLOURS[0]]
    band, = axis.collections
    x, y = band.get_paths()[0].vertices.T
    assert (x.min(), x.max()) == pytest.approx((1 / 1.05, 1.05)) and y.min() < marks[1].get_ydata()[0] < y.max()
    assert max(len(line) for text in axis.texts for line in text.get_text().splitlines()) < 100, "broken"
    axis, = figures.forest({"c": (-0.1, -0.2, 0.0)}, xlabel="difference", equal=0.0).axes
    assert axis.get_xscale() == "linear" and axis.get_lines()[0].get_xdata()[0] == 0


def test_figures_are_narrow_enough_for_a_phone():
    for figure in (figures.curves({name: {"a": (T, T)} for name in "xyz"}, xlabel="x", ylabel="y"),
                   figures.forest({name: EFFECTS for name in "wxyz"}, xlabel="ratio"),
                   figures.space_time({name: torch.randn(4, 4) for name in "xyz"}, length=1, duration=1)):
        assert figure.get_size_inches()[0] < 6.5
        assert {axis.get_subplotspec().colspan.start for axis in figure.axes if axis.get_subplotspec()} == {0, 1}


def test_a_figure_can_stand_in_text():
    text = figures.image(figures.forest(EFFECTS, xlabel="ratio"), 'two "ratios"')
    assert text.startswith('<img alt="two &quot;ratios&quot;" src="data:image/webp;base64,UklGR') and len(text) < 30_000


def test_a_forest_in_panels_has_the_same_rows():
    left, right = figures.forest({"inside": EFFECTS, "outside": {"NOG / ONE": (2.0, 1.5, 2.5)}}, xlabel="ratio",
                                 others={"published": {"outside": {"elsewhere": 0.7}}}).axes
    assert left.get_ylim() == right.get_ylim()
    assert [label.get_text() for label in left.get_yticklabels()] == [*EFFECTS, "elsewhere"]
    assert [list(line.get_ydata()) for line in right.get_lines() if line.get_marker() == "D"] == [[2]]
    squares = [line for line in right.get_lines() if line.get_marker() == "s"]
    assert [float(line.get_ydata()[0]) for line in squares] == [1]


def test_space_time_has_one_symmetric_scale_and_survives_a_blow_up():
    field = torch.randn(20, 16)
    blown = field.clone()
    blown[15:] = float("nan")
    figure = figures.space_time({"reference": field, "blown": blown}, length=2.0, duration=1.0)
    images = [axis.images[0] for axis in figure.axes if axis.images]
    low, high = images[0].get_clim()
    assert low == -high and images[1].get_clim() == (low, high)
    assert images[0].get_extent() == [0, 2.0, 0, 1.0]
    limited = figures.space_time({"u": field}, length=1, duration=1, limit=3, xlabel="x", ylabel="t")
    assert limited.axes[0].images[0].get_clim() == (-3, 3)
    assert (limited.axes[0].get_xlabel(), limited.axes[0].get_ylabel()) == ("x", "t")
    rows = figures.space_time({name: field for name in "abc"}, length=1, duration=1, columns=2).axes
    assert [axis.get_subplotspec().rowspan.start for axis in rows[:3]] == [0, 0, 1]


def test_scattered_points_differ_in_marker_or_colour():
    points = {f"set-up {i}": (torch.rand(6) + 0.1, torch.rand(6) + i + 0.1) for i in range(12)}
    axis, = figures.scatter(points, xlabel="one step", ylabel="steps", xlog=True, ylog=True).axes
    assert (axis.get_xscale(), axis.get_yscale(), axis.get_xlabel()) == ("log", "log", "one step")
    assert len({(line.get_color(), line.get_marker()) for line in axis.get_lines()}) == 12
    assert [text.get_text() for text in axis.figure.legends[0].get_texts()] == list(points)


def test_bars_write_their_values():
    figure = figures.bars({"eager": 10.0, "traced": 0.5}, xlabel="time [ms]")
    assert {text.get_text().strip() for text in figure.axes[0].texts} == {"10", "0.5"}


def test_maps_draw_arrows_beside_the_field():
    v = torch.randn(2, 16, 16)
    figure = figures.maps({"w": torch.randn(16, 16)}, length=1.0, label="w [1/s]", arrows={"w": v})
    assert len(figure.axes[0].collections) == 1


@pytest.mark.parametrize("values", [{"a": (T, T)}])
def test_figures_leave_nothing_open(values):
    import matplotlib.pyplot as plt

    figures.curves(values, xlabel="x", ylabel="y")
    assert plt.get_fignums() == []


def test_a_field_without_a_finite_value_is_drawn_empty():
    figure = figures.space_time({"blown": torch.full((4, 4), float("nan"))}, length=1.0, duration=1.0)
    assert len(figure.axes[0].images) == 1


@pytest.mark.parametrize("draw", [figures.bars, figures.chains, figures.curves, figures.forest, figures.maps,
                                  figures.scatter, figures.space_time], ids=lambda draw: draw.__name__)
def test_what_is_no_mapping_by_labels_is_refused_in_one_sentence(draw):
    cases = (([1.0, 2.0], TypeError, "a mapping from labels"), (None, TypeError, "a mapping"),
             ({}, ValueError, "at least one entry"), ({1: (0, 1)}, TypeError, "with texts as keys"))
    for wrong, error, reason in cases:
        with pytest.raises(error, match=rf"^{draw.__name__}: .*{reason}"):
            draw(wrong)
