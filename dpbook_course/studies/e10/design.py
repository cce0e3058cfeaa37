"""Budgets, seeds and names of E10.   Chapter: 09_choosing_the_numerics."""

BUDGETS = (750, 3000)
SEEDS = tuple(range(12))  # each with data of its own
NUM_STEPS = 8
TRAININGS = ("ONE", f"WIG-{NUM_STEPS}")
ALONE = "alone"  # P without a network
GRIDS = (16, 32, 64)  # of Burgers
REFINED = 128  # P alone is computed there too: what a finer grid gives for its cost


def name(scheme: str, num_points: int, training: str) -> str:
    """Of a variant: ``limited, 32 points, WIG-8``."""
    return f"{scheme}, {num_points} points, {training}"
