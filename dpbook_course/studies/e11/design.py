"""Budget, seeds, sizes and names of E11.   Chapter: 10_generalisation."""

from dpbook_utils.setups import Setup, warm_up

UPDATES = 4000
SEEDS = tuple(range(12))  # each with data of its own
SIZES = (8, 32, 128, 512)  # training trajectories
DECIDING = (32, 512)  # little data and much
LONGEST = 8  # steps of a window, the same for all set-ups
SETUPS = {"ONE": Setup(), "WIG-3": Setup(3, curriculum=warm_up(3)), "WIG-8": Setup(8, curriculum=warm_up(8))}
DECIDING_SETUPS = ("ONE", "WIG-3")
CHAINS = ("hybrid", "predictor")
SIGMAS = (0.001, 0.01)  # of the noisy predictors [m/s]; states have a standard deviation of about 1
WIDE = 23  # channels instead of 16: twice the weights
REFINED = (1, 2, 4)  # P alone, its cells or sub-steps made finer by a factor


def name(chain: str, setup: str, size: int) -> str:
    """Of a variant: ``hybrid, WIG-3, 32 trajectories``."""
    return f"{chain}, {setup}, {size} trajectories"


def alone(refined: int) -> str:
    """Of P without a network."""
    return "P" if refined == 1 else f"P, {refined} times finer"
