"""The claim that E00 decides, and its criterion.   Chapter: 00_solver_as_operator.

The tolerance is the one that the chapter and the tests of the solvers had used before; trials had shown the errors of
seeds 0 and 3; those of the wake, which came later, all six.
"""

from collections.abc import Mapping

import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import RULE, conclude, per_seed, smaller
from ...claims.ledger import STATEMENTS
from .design import SOLVERS, TOLERANCE

GRADIENTS = {"solver": "by state and parameters", "network": "by the weights of a network before it"}


def decide_gradients(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C01."""
    frame = frames["e00"]
    found = [smaller(f"error of the gradient {words} / {TOLERANCE:g}, {name}",
                     per_seed(frame, name, 0, metric), TOLERANCE)
             for metric, words in GRADIENTS.items() for name in SOLVERS]
    return conclude(found, found, "no training")


CLAIMS = {"C01": Claim(
    "C01", STATEMENTS["C01"].text, "00_solver_as_operator", ("e00",),
    "Supported if, for every solver and scheme of the package, the relative difference between the backward pass and "
    "central finite differences in double precision is below 1e-6, (1) for the gradient by the state and by each "
    "parameter, and (2) for the gradient by the weights of a network that stands before the solver in a chain of two "
    "steps, which is what tells the network how its output changes the simulated outcome. Supported under conditions "
    "if this holds for some of them. 'Below' means: over at least six seeds, each with its own states, parameters, "
    "weights and directions, the exact test on ranks has p below 0.05: with six seeds, in all of them. " + RULE,
    decide_gradients)}
