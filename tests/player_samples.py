"""A made-up player, small and quick, for the tests."""

import numpy as np

from dpbook_course.explorer.player import Player

TIMES, NX, NY = 5, 6, 4
HIDE = np.zeros((NX, NY), bool)
HIDE[1, 2] = True
RAMP = np.arange(TIMES)[:, None, None] + np.zeros((TIMES, NX, NY)) - 2.0  # -2 ... 2


def player(**changes) -> Player:
    given = dict(name="made-up", title="A made-up wake", fields={"reference": RAMP, "source": -RAMP},
                 errors={"source": np.linspace(0, 0.4, TIMES)}, dt=0.5, scale=2.0, label="vorticity [U/D]", unit="D/U",
                 hidden=HIDE)
    return Player(**{**given, **changes})
