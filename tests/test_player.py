"""The player of moving fields: what it writes, and what it refuses."""

import base64
import json
import re

import numpy as np
import pytest
import torch
from player_samples import NX, NY, RAMP, TIMES, player

from dpbook_course.explorer.player import HIDDEN, LEVELS


def payload(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])


def test_levels_are_symmetric_clipped_and_hidden_where_there_is_nothing_to_see():
    values = np.array([[[-9.0, -2.0, 0.0, 2.0]], [[9.0, np.nan, 1.0, -1.0]]])
    made = player(fields={"u": values}, errors={"u": np.zeros(2)}, hidden=np.zeros((1, 4), bool))
    assert made.levels(values).tolist() == [[[0, 0, LEVELS, 2 * LEVELS]], [[2 * LEVELS, HIDDEN, 190, 64]]]
    levels = player().levels(RAMP)
    assert (levels[:, 1, 2] == HIDDEN).all() and (levels[2] == LEVELS).sum() == NX * NY - 1


def test_the_page_gets_the_fields_one_byte_a_value():
    data = payload(player()._repr_html_())
    levels = np.frombuffer(base64.b64decode(data["fields"]["source"]), np.uint8).reshape(TIMES, NX, NY)
    assert (levels == player().levels(-RAMP)).all()
    assert data["errors"]["source"] == [0.0, 0.1, 0.2, 0.3, 0.4] and data["largest"] == 0.44


def test_the_hidden_cells_may_be_a_tensor():
    for hidden in (torch.zeros(NX, NY, dtype=torch.bool), torch.ones(NX, NY, dtype=torch.bool)):
        assert payload(player(hidden=hidden)._repr_html_())["hidden"] == bool(hidden.any())


def test_fifty_times_of_the_studys_grid_stay_small():
    fields = {name: np.random.default_rng(0).normal(size=(51, 63, 32)) for name in ("reference", "source", "hybrid")}
    made = player(fields=fields, errors={"source": np.ones(51)}, hidden=np.zeros((63, 32), bool))
    assert len(made._repr_html_()) < 600_000


@pytest.mark.parametrize("changes, message", [
    ({"name": "Bad name"}, "lower-case"), ({"scale": 0.0}, "must be positive"), ({"fields": {}}, "one or more"),
    ({"fields": {"a": RAMP, "b": RAMP[1:]}}, "of one shape"), ({"errors": {"a": np.zeros(2)}}, "do not fit"),
    ({"hidden": np.zeros((2, 2), bool)}, "do not fit")])
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        player(**changes)


def test_no_text_ends_the_script_element_and_readers_without_scripts_get_the_numbers():
    html = player(title='</script><img src=x> "q"')._repr_html_()
    assert html.count("</script>") == 2 and "<img" not in html
    assert "Errors at the end: source: 0.4" in player()._repr_html_()
    assert "Errors" not in player(errors={}).summary()
