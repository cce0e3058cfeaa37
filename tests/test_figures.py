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


def test_space_time_has_one_symmetric_scale_and_survives_a_blow_up():
    field = torch.randn(20, 16)
    blown = field.clone()
    blown[15:] = float("nan")
    figure = figures.space_time({"reference": field, "blown": blown}, length=2.0, duration=1.0)
    images = [axis.images[0] for axis in figure.axes if axis.images]
    low, high = images[0].get_clim()
    assert low == -high and images[1].get_clim() == (low, high)
    assert images[0].get_extent() == [0, 2.0, 0, 1.0]


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
