"""What E14's ways to a gradient cost, and its budgets: equal numbers of solver calls.   Chapter: 13_foreign_solvers.

The unit is one call of the solver for one sample. A backward sweep of an adjoint counts as two.
"""

from dataclasses import dataclass

from dpbook_utils.estimates import EvolutionStrategies, FiniteDifferences, GradientEstimate, Simultaneous
from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.setups import Setup, warm_up

SEEDS = tuple(range(12))
ADJOINT = 2
ESTIMATES = {"finite differences": FiniteDifferences(), "SPSA-1": Simultaneous(1), "SPSA-8": Simultaneous(8),
             "ES-8": EvolutionStrategies(8, 0.1)}

# The corrector: windows of three steps, of which the first needs no gradient of the solver.
NUM_STEPS, BATCH, NUM_POINTS = 3, 16, 32
UPDATES = (500, 2000)  # of the adjoint
PAIRS = (256, 4096)  # that a surrogate learns from

# The viscosity: so many coefficients, and so many calls for each of the states of a training. In a trial with four
# coefficients all ways but one reached the rounding of single precision within 1,200 calls, where nothing can be told
# apart: the numbers here end before that.
COEFFICIENTS = (1, 2, 4, 8, 16, 32)
FEW = 4  # the number that decides
CALLS = (75, 150, 300)
FEW_PAIRS = 32  # of a surrogate, for each of the states


@dataclass(frozen=True)
class Way:
    """One way to the gradient through the solver.

    Attributes:
        setup: of the training.
        gradient: an estimate; None for the solver's own adjoint, or a surrogate's.
        pairs: of the step that a surrogate has learnt from; 0 for none.
        num_coefficients: of the viscosity; 0 for the corrector.
    """

    setup: Setup
    gradient: GradientEstimate | None = None
    pairs: int = 0
    num_coefficients: int = 0

    @property
    def backward(self) -> int:
        """Calls of a backward pass, for each sample."""
        if self.pairs or isinstance(self.setup.gradient, NoSolverGradient):
            return 0
        if self.gradient is None:
            return ADJOINT
        if isinstance(self.gradient, FiniteDifferences):
            return 2 * (self.num_coefficients or NUM_POINTS)
        return 2 * self.gradient.num_samples


def unrolled(gradient: NoSolverGradient | None = None) -> Setup:
    policy = {} if gradient is None else {"gradient": gradient}
    return Setup(NUM_STEPS, curriculum=warm_up(NUM_STEPS), batch_size=BATCH, **policy)


def corrector_ways() -> dict[str, Way]:
    return {"adjoint": Way(unrolled()),
            **{name: Way(unrolled(), estimate) for name, estimate in ESTIMATES.items()},
            **{f"surrogate, {pairs} pairs": Way(unrolled(), pairs=pairs) for pairs in PAIRS},
            "no solver gradient": Way(unrolled(NoSolverGradient())), "one step": Way(Setup(batch_size=BATCH))}


def calls_per_update(way: Way) -> int:
    """Of the corrector, for one seed; those of the warm-up with one step, a tenth of the updates, count as the rest."""
    num_steps = way.setup.num_steps
    return BATCH * (num_steps + (num_steps - 1) * way.backward)


def updates_for(way: Way, updates: int) -> int:
    """Updates of the corrector with as many calls as so many of the adjoint, the surrogate's pairs included."""
    calls = updates * calls_per_update(Way(unrolled()))
    return max(1, (calls - way.pairs) // calls_per_update(way))


def equal_calls(way: Way) -> tuple[int, ...]:
    return tuple(updates_for(way, updates) for updates in UPDATES)


def viscosity_ways(num: int) -> dict[str, Way]:
    """Ways to find so many coefficients; without any gradient nothing leads to them."""
    setup = Setup(learning_rate=0.03, clip_norm=None)
    found = {"adjoint": Way(setup, num_coefficients=num)}
    found |= {name: Way(setup, estimate, num_coefficients=num) for name, estimate in ESTIMATES.items()}
    return found | {"surrogate": Way(setup, pairs=FEW_PAIRS, num_coefficients=num)}


def viscosity_updates(way: Way, calls: int) -> int:
    return max(1, (calls - way.pairs) // (1 + way.backward))
