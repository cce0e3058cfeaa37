"""What E08 varies: kinds of noise, standard deviations, budgets.   Chapter: 07_noise."""

SEEDS = (0, 1, 2, 3, 4, 5)
SIGMAS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
LOWER = (1e-3, 3e-3, 1e-2, 3e-2)
WEAK = (1e-3, 3e-3, 1e-2)
SHORT, LONG, LONGER = 1500, 6000, 15000  # updates of one step take as long as 6,000 of three
BASE = {"white": "ONE", "moved target": "ONE", "shaped": "ONE", "walk": "history", "NOG-3": "NOG-3", "WIG-3": "WIG-3"}
GRID = {  # {family: {budget: sigmas}}
    "white": {SHORT: SIGMAS, LONG: SIGMAS, LONGER: WEAK}, "moved target": {SHORT: SIGMAS, LONG: LOWER},
    "shaped": {SHORT: SIGMAS, LONG: LOWER}, "walk": {SHORT: SIGMAS, LONG: LOWER},
    "NOG-3": {SHORT: SIGMAS, LONG: LOWER}, "WIG-3": {SHORT: SIGMAS, LONG: LOWER}}
PERIODIC_GRID = {"white": {SHORT: SIGMAS, LONG: (1e-3, 1e-2, 1e-1)}, "WIG-3": {SHORT: (1e-2, 1e-1)}}
DP_BUDGET, PER_UPDATE = 2520, 2.5  # an update of WIG-3 takes as long as 2.5 of ONE, to within a tenth
EQUAL = round(DP_BUDGET * PER_UPDATE)
SMALL_GRID = {"white": {EQUAL: SIGMAS}, "moved target": {EQUAL: (1e-2, 3e-2, 1e-1)}}
SMALL_BUDGETS = (300, 1500, EQUAL)  # of ONE
DP_RATES = (1e-3, 3e-3)
FIRST = (1e-2, 3e-2, 1e-1)  # sigmas of the noise before DP
REGIONS = ("inside", "below", "above")


def name(family: str, sigma: float) -> str:
    """``white, sigma 0.01``; without noise the set-up that the family adds it to."""
    return f"{family}, sigma {sigma:g}" if sigma else BASE[family]


def dp_name(first: str, rate: float) -> str:
    """``WIG-3, rate 0.003``; after a first phase ``ONE, then WIG-3, rate 0.003``."""
    return f"{first + ', then ' if first else ''}WIG-3, rate {rate:g}"
