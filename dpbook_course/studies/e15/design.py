"""E15's cases, methods, batches and budgets.   Chapter: 14_better_updates."""

from dataclasses import dataclass

from dpbook_utils.setups import Setup

SEEDS = tuple(range(12))  # of weights, batches and data: each is trained by itself
INVERSE = ("linear oscillators", "nonlinear oscillators", "heat")
HYBRID = "corrector"
CASES = (*INVERSE, HYBRID)

# What ``setup.learning_rate`` = 1 stands for: the learning rate, or the damping at the start. The tuning tries the same
# six factors for each method. The published rate of half-inverse gradients, 1, is that of a loss that is averaged over
# 32 samples: 1/32 here, where the residuals of a batch are not.
USUAL = {"Adam": 3e-3, "SGD": 3e-3, "L-BFGS": 1.0, "scale-invariant": 3e-3, "half-inverse": 0.03, "Gauss-Newton": 0.1,
         "Levenberg-Marquardt": 1e-2}
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
PLAIN = ("Adam", "SGD")
JACOBIAN = ("half-inverse", "Gauss-Newton", "Levenberg-Marquardt")
BETTER = ("L-BFGS", "scale-invariant", *JACOBIAN)

# Samples of a batch: for the methods that take gradients, those that take Jacobians, and L-BFGS, whose batch is fixed.
BATCH = {"linear oscillators": (256, 32, 1024), "nonlinear oscillators": (256, 64, 256), "heat": (16, 16, 256),
         "corrector": (16, 16, 256)}


@dataclass(frozen=True)
class Row:
    """One case trained by one method."""

    case: str
    method: str
    setup: Setup = Setup(learning_rate=1.0)

    @property
    def rate(self) -> float:
        return USUAL[self.method] * self.setup.learning_rate

    @property
    def batch_size(self) -> int:
        gradients, jacobians, fixed = BATCH[self.case]
        return fixed if self.method == "L-BFGS" else jacobians if self.method in JACOBIAN else gradients


def methods(case: str) -> tuple[str, ...]:
    """Those that the case can be trained by: a corrector's output enters every step, so that it has no inverse physics
    between network and loss, which the scale-invariant update needs."""
    return tuple(method for method in USUAL if case != HYBRID or method != "scale-invariant")


def rows() -> dict[str, Row]:
    """All rows, all with the usual rate of their method."""
    return {f"{case}, {method}": Row(case, method) for case in CASES for method in methods(case)}


# Numbers of updates. The last of each takes a few seconds of one processor, and so many calls that methods can be
# compared at equal numbers of them too; it is the one whose rates were chosen. Four times as many, which were planned,
# would have taken three times as long as a study may.
BUDGETS = {
    "linear oscillators": {"gradient": (30, 100, 300), "scale-invariant": (50, 150), "L-BFGS": (20, 80),
                           "Jacobian": (25, 100)},
    "nonlinear oscillators": {"gradient": (12, 40, 120), "scale-invariant": (20, 65), "L-BFGS": (10, 45),
                              "Jacobian": (10, 40)},
    "heat": {"gradient": (500, 1600), "scale-invariant": (50, 150), "L-BFGS": (40, 180), "Jacobian": (10, 40)},
    "corrector": {"gradient": (1000, 3600), "L-BFGS": (20, 80, 320), "Jacobian": (12, 50)},
}


def budgets(row: Row) -> tuple[int, ...]:
    kind = "Jacobian" if row.method in JACOBIAN else "gradient" if row.method in PLAIN else row.method
    return BUDGETS[row.case][kind]
