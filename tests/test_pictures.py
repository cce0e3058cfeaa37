"""The README's pictures: light, in place, and drawn from the fields as they are."""

import re

import numpy as np
import pictures
import pytest
from PIL import Image

from dpbook_course.problems import letter
from dpbook_course.web import systems


def test_the_readme_has_light_films_and_says_what_they_show(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^!\[([^]]+)\]\(([^)]+)\)$", text, re.MULTILINE))
    assert sorted(shown.values()) == [
        "book/_static/flow.gif", "book/_static/letter.gif", "book/_static/screenshot.png"]
    assert all(len(alt.split()) > 20 for alt in shown)
    for file, largest in ((pictures.FLOW, 1.5e6), (pictures.LETTER, 0.5e6), (pictures.SHOT, 0.5e6)):
        assert file.stat().st_size < largest
    for file, frames in ((pictures.FLOW, 80 // pictures.EVERY), (pictures.LETTER, letter.NUM_STEPS + 1)):
        with Image.open(file) as film:
            assert film.n_frames == frames and film.info["loop"] == 0
    weights = systems(("flow",))["flow"]["weights"]["additive"]
    assert f"of {weights:,} weights" in text


def test_a_panel_shows_a_field_upwards():
    n = 32
    x, y = (np.indices((n, n)) + 0.5) / n
    picture = pictures.panel(np.where(y > 0.5, 1.0, -1.0) * np.where(x > 0.5, 1.0, 0.5), 1.0)
    side, top = pictures.SIDE, pictures.LEVELS - 1
    assert picture.shape == (side, side) and picture[side // 4, 3 * side // 4] == top
    assert picture[3 * side // 4, 3 * side // 4] == 0 and top // 2 < picture[side // 4, side // 4] < top


def test_vorticity_and_energy_are_those_of_a_turning_flow():
    """u = -sin(2 pi y), v = sin(2 pi x) on the lower faces: the vorticity is 2 pi (cos 2 pi x + cos 2 pi y)."""
    n = 64
    x = np.arange(n) / n
    middle = (np.arange(n) + 0.5) / n
    v = np.stack([np.broadcast_to(-np.sin(2 * np.pi * middle), (n, n)),
                  np.broadcast_to(np.sin(2 * np.pi * middle)[:, None], (n, n))])[None]
    expected = 2 * np.pi * (np.cos(2 * np.pi * x)[:, None] + np.cos(2 * np.pi * x))
    assert pictures.vorticity(v)[0] == pytest.approx(expected, abs=0.01)
    assert pictures.energy(v) == pytest.approx([0.5])


def test_a_film_has_few_colours_and_moves():
    generator = np.random.default_rng(0)
    fields = {name: np.tanh(generator.normal(size=(2, 8, 8))) for name in ("one", "two")}
    film = pictures.film(fields, dict.fromkeys(fields, ["before", "after"]))
    assert len(film) == 2 and film[0].size == (2 * pictures.SIDE + 3 * pictures.MARGIN,
                                               pictures.TOP + pictures.SIDE + pictures.MARGIN)
    assert np.asarray(film[0]).max() == pictures.INK and (np.asarray(film[0]) != np.asarray(film[1])).any()
