"""E12 before its runs: what is looked for, with which models, and what is counted.   Chapter: 11_forward_and_inverse.

The unit of a search is one evaluation of the misfit and its gradient: as many solver steps forward as the horizon has,
and as many backward.
"""

from dataclasses import dataclass

from dpbook_utils.setups import Setup

SEEDS = tuple(range(12))  # of networks; each has its own instances
UPDATES = 6000

# name: (steps after which the sensors see the state, every how many cells)
TASKS = {"two times": ((8, 24), 2), "late": ((24,), 2), "later": ((48,), 2)}
DECIDING = ("two times", "late")
NOISE = 0.02  # standard deviation of an observation [m/s]; velocities have a root mean square of 1
WAVES = 15  # of the initial state that are looked for
VISCOSITIES = (0.03, 1.2)  # [m^2/s]; the search stays within
BANDS = {"waves 1 to 3": (1, 3), "waves 4 to 8": (4, 8), "waves 9 to 15": (9, 15)}  # the truth has the first ones only

NUM_TESTED, NUM_HELD_OUT = 32, 16  # instances of each seed
FIRST_SEED = {"tested": 70_000, "held out": 80_000}
WEIGHTS = (0.0, 1.0, 10.0, 100.0, 1000.0)  # of the prior, of which the held-out instances choose one
EVALUATIONS, TOLERANCE = 96, 1e-5  # of a search
PLACES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)  # evaluations at which the error is kept
EQUAL = 32  # evaluations that decide

HORIZONS = (1, 2, 4, 8, 16, 32, 64)  # of the gradients
NUM_GRADIENTS, APART = 8, 0.3  # instances, and how far from the truth the gradient is taken


@dataclass(frozen=True)
class Physics:
    """A solver on a grid.

    Attributes:
        num_substeps: in one step of the length dt.
        evaluations: of a search, at most.
    """

    num_points: int
    num_substeps: int
    evaluations: int = EVALUATIONS


@dataclass(frozen=True)
class Trained:
    """P and a network behind it, or the network alone.

    Attributes:
        with_solver: whether there is a P.
    """

    setup: Setup
    with_solver: bool = True
    evaluations: int = EVALUATIONS


def physics() -> dict[str, Physics]:
    return {"P": Physics(32, 1), "P, 64 points": Physics(64, 2), "P, 128 points": Physics(128, 4),
            "fine": Physics(256, 32)}


def trained() -> dict[str, Trained]:
    """The hybrids at the rates that E05 has tuned for them; the network alone at that of the same set-up."""
    return {"ONE": Trained(Setup(learning_rate=1e-3)), "WIG-8": Trained(Setup(8, learning_rate=3e-3)),
            "predictor, WIG-8": Trained(Setup(8, learning_rate=3e-3), with_solver=False)}
