"""How often the intervals contain the truth, and how often the rule is wrong: on seeds drawn from a known truth.

Spreads are those of the stored comparisons, tails those of a Student's t that has the mean kurtosis of them. The rules
are those of the claims.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas
from scipy import stats

from . import effects as statistics
from .claims import CONTRADICTED, OUTCOMES, SUPPORTED, UNDER_CONDITIONS, Verdict
from .effects import AS_CLAIMED, READINGS
from .rule import Rule

SIZES = (6, 12, 20)  # numbers of seeds
EFFECTS = (0.1, 0.2)  # by how much the first set-up is better
TAILS = (3, 4, 5, 6, 8, 12, 30)  # degrees of freedom that are tried
SHARED = 0.2  # correlation of two comparisons of a claim, whose seeds and baselines are often the same


def samples(found: Mapping[str, Verdict]) -> np.ndarray:
    """(comparisons, seeds): the logarithms of all stored ratios that have the smallest number of seeds, none lost."""
    every = [effect.numbers for verdict in found.values() for effect in verdict.effects
             if effect.question == statistics.RATIO and np.isfinite(effect.numbers).all() and np.ptp(effect.numbers)]
    fewest = min(map(len, every))
    return np.array([numbers for numbers in every if len(numbers) == fewest])


def tail(logs: np.ndarray) -> int:
    """The degrees of freedom of the Student's t whose samples have the mean kurtosis of these."""
    generator, measured = np.random.default_rng(0), stats.kurtosis(logs, axis=-1).mean()
    drawn = (generator.standard_t(freedom, (20_000, logs.shape[1])) for freedom in TAILS)
    means = [stats.kurtosis(each, axis=-1).mean() for each in drawn]
    return TAILS[int(np.abs(np.array(means) - measured).argmin())]


def coverage(freedom: int, num_samples: int = 1000) -> pandas.DataFrame:
    """In how many of 100 samples a 95 % interval contains the true mean, by number of seeds and distribution."""
    generator, rows = np.random.default_rng(0), {}
    for size in SIZES:
        drawn = {"normal": generator.normal(size=(num_samples, size)),
                 "tails of the data": generator.standard_t(freedom, (num_samples, size)),
                 "skewed (gamma, shape 4)": generator.gamma(4, size=(num_samples, size)) - 4}
        for name, numbers in drawn.items():
            t = statistics.read(numbers, statistics.BELOW)
            bootstrap = stats.bootstrap((numbers,), np.mean, axis=-1, n_resamples=999, method="BCa", rng=generator)
            found = {"Student's t": (t.low, t.high), "bootstrap (BCa)": tuple(bootstrap.confidence_interval)}
            rows[size, name] = {kind: 100 * np.mean((low < 0) & (high > 0)) for kind, (low, high) in found.items()}
    return pandas.DataFrame(rows).T.rename_axis(["seeds", "distribution"])


def draw(spread: float, mean: float, shared: np.ndarray, freedom: int, generator: np.random.Generator) -> np.ndarray:
    """Numbers of this mean and standard deviation, correlated with ``shared``, which has a deviation of one."""
    own = generator.standard_t(freedom, shared.shape) / np.sqrt(freedom / (freedom - 2))
    return mean + spread * (np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own)


def outcomes(rule: Rule, num_seeds: int, effect: float, freedom: int, num_draws: int = 1000) -> dict[str, float]:
    """How often a claim has each outcome if the first set-up is better by ``effect`` in all of its comparisons.

    A fraction is lower by as much. A number that should lie between two limits lies on one of them if the effect is
    zero, and half-way between them otherwise. What needs no seeds is as claimed.
    """
    generator = np.random.default_rng(0)
    shared = generator.standard_t(freedom, (num_draws, num_seeds)) / np.sqrt(freedom / (freedom - 2))
    readings, p = {}, {}
    for measured, _ in rule.comparisons:
        name, question = measured.name, measured.question
        if question is None:
            readings[name], p[name] = AS_CLAIMED, np.nan
            continue
        finite = np.array(measured.numbers)[np.isfinite(measured.numbers)]
        spread = max(finite.std(ddof=1), 0.01) if len(finite) > 1 else 1.0
        mean = (question.low + question.high) / 2 if effect else question.high
        if not question.inside:
            mean = np.log1p(-effect) if question == statistics.RATIO else -effect
        found = statistics.read(draw(spread, mean, shared, freedom, generator), question)
        readings[name], p[name] = found.code, found.p
    found = np.broadcast_to(rule.outcome(readings, rule.corrected(p)), num_draws)
    return {outcome: float(np.mean(found == OUTCOMES.index(outcome))) for outcome in OUTCOMES}


def single(spread: float, num_seeds: int, effect: float, freedom: int, num_draws: int = 4000) -> float:
    """How often one comparison reads "as claimed"."""
    generator = np.random.default_rng(0)
    shared = generator.standard_t(freedom, (num_draws, num_seeds)) / np.sqrt(freedom / (freedom - 2))
    numbers = draw(spread, np.log1p(-effect), shared, freedom, generator)
    return float(np.mean(statistics.read(numbers, statistics.RATIO).code == READINGS.index(AS_CLAIMED)))


def errors(found: Mapping[str, Verdict], freedom: int, num_draws: int = 1000,
           sizes: Sequence[int] = SIZES) -> pandas.DataFrame:
    """One row per claim and number of seeds: in how many of 100 cases it comes out so.

    Columns: ``false``: supported, also under conditions, without any difference. For each of EFFECTS: ``power``,
    supported at least under conditions where all comparisons have this effect, and ``contradicted`` there.
    """
    rows = {}
    for key, verdict in found.items():
        for size in sizes if verdict.rule and any(e.question for e, _ in verdict.rule.comparisons) else ():
            row = {}
            for effect in (0.0, *EFFECTS):
                shares = outcomes(verdict.rule, size, effect, freedom, num_draws)
                held = 100 * (shares[SUPPORTED] + shares[UNDER_CONDITIONS])
                row |= ({f"power, {effect:.0%}": held, f"contradicted, {effect:.0%}": 100 * shares[CONTRADICTED]}
                        if effect else {"false": held})
            rows[key, size] = row
    return pandas.DataFrame(rows).T.rename_axis(["claim", "seeds"])
