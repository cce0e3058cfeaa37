"""What the two smaller studies of E10 say, in sentences with their numbers.   Chapter: 09_choosing_the_numerics.

The criteria stand in ``inner`` and ``teacher``, and were stated before any run.
"""

import pandas

from ...claims.effects import AS_CLAIMED, OTHER_WAY, PairedRatio
from ...claims.seeds import ratio
from . import inner, teacher
from .design import ALONE, TRAININGS, name

MOST = 1.05  # an error that counts as equal
PUBLISHED = 0.38  # of the time: 62 % less
COUNTS = tuple(scheme for scheme in inner.problem.schemes if scheme != inner.CONVERGED)


def against_converged(frame: pandas.DataFrame, scheme: str, training: str,
                      metric: str = "converged.inside") -> PairedRatio:
    """Of a training with so many iterations, by the training with the converged solver: the ratio of what they give."""
    rows = [name(one, inner.POINTS, training) for one in (scheme, inner.CONVERGED)]
    return ratio(frame, *rows, inner.BUDGET, metric)


def time_of(frame: pandas.DataFrame, scheme: str, training: str) -> PairedRatio:
    """Of an update, in units of that with the most iterations."""
    rows = [name(one, inner.POINTS, training) for one in (scheme, COUNTS[-1])]
    return ratio(frame, *rows, inner.BUDGET, "seconds_per_update")


def enough(frame: pandas.DataFrame, training: str) -> str | None:
    """The fewest iterations with which, and with more, the interval of the error's ratio ends below 1.05."""
    found = None
    for scheme in reversed(COUNTS):
        if not against_converged(frame, scheme, training).high < MOST:
            break
        found = scheme
    return found


def iterations(frame: pandas.DataFrame) -> str:
    """The reading of ``inner``, a sentence for each training."""
    said = []
    for training in TRAININGS:
        scheme = enough(frame, training)
        if scheme is None:
            most = against_converged(frame, COUNTS[-1], training)
            said.append(f"With {training} not even {COUNTS[-1]} are enough: behind the converged solver the error is "
                        f"{most} times that of the training with the converged solver.")
            continue
        found, time = against_converged(frame, scheme, training), time_of(frame, scheme, training).ratio
        met = "no less than the published saving" if time <= PUBLISHED else "short of the published saving"
        said.append(f"With {training} {_counted(scheme)} enough: behind the converged solver the error is {found} "
                    "times that of the training with the converged solver, and an update takes "
                    f"{time:.0%} of the time with {COUNTS[-1]}, {1 - time:.0%} less, {met} of 62 to 78 %.")
    return " ".join(said)


def beside_teacher(frame: pandas.DataFrame, scheme: str, of: str, training: str = ALONE) -> PairedRatio:
    """The error of a hybrid, or of its P alone, by that of the teacher."""
    row = name(scheme, teacher.POINTS, ALONE) if training == ALONE else teacher.pupil(scheme, of, training)
    return ratio(frame, row, name(of, teacher.FINE, ALONE), 0 if training == ALONE else teacher.BUDGET, budget_b=0)


def pupils(frame: pandas.DataFrame) -> str:
    """The reading of ``teacher``: which hybrids beat theirs, and of those whose P alone does not."""
    trained = [(scheme, of, training) for of, schemes in teacher.PAIRS.items() for scheme in schemes
               for training in TRAININGS]
    found = {one: beside_teacher(frame, *one) for one in trained}
    ahead = [one for one in trained if found[one].reading == AS_CLAIMED]
    behind = [one for one in trained if found[one].reading == OTHER_WAY]
    alone = {one: beside_teacher(frame, *one[:2]) for one in trained}
    strict = [one for one in ahead if alone[one].reading == OTHER_WAY]
    parts = [f"{len(ahead)} of {len(trained)} hybrids have a smaller error than the scheme that made their data, and "
             f"{len(behind)} a larger one."]
    if strict:
        parts.append(f"Of those that are ahead {len(strict)} have a P that alone is behind the teacher: "
                     + "; ".join(f"{_described(one)}, {found[one]} times the teacher's error, with P alone "
                                 f"{alone[one].ratio:.2f} times" for one in strict) + ".")
    elif ahead:
        parts.append("All those that are ahead have a P that alone is not behind the teacher.")
    if ahead:
        best = min(ahead, key=lambda one: found[one].ratio)
        parts.append(f"The furthest ahead is {_described(best)}: {found[best]} times the teacher's error.")
    return " ".join(parts)


def _described(one: tuple[str, str, str]) -> str:
    scheme, of, training = one
    return f"{scheme} with {of}'s data ({training})"


def _counted(scheme: str) -> str:
    return f"{scheme} {'is' if scheme == COUNTS[0] else 'are'}"
