"""What E02 varies: data sets, losses, budgets and seeds.   Chapter: 02_solver_as_data."""

BUDGETS = (1500, 6000)
EQUALITY_BUDGET = 100
SEEDS = (0, 1, 2, 3, 4, 5)
SIZES = (16, 64, 256, 1024)
# Of the sets that fresh data beats at equal updates: as long as 6,000 fresh updates take. Added after the results of
# BUDGETS were seen, so it is shown and decides nothing.
LONGER = {16: 12000, 64: 12000}
LOSSES = ("supervised", "DP")
SUBSTEPS = (1, 2, 4, 6, 8, 16, 32, 64)  # of the throughput measurement; the study's reference solver has 6


def substeps(number: int) -> str:
    """The variant's name in the throughput measurement."""
    return f"{number} sub-steps" if number > 1 else "1 sub-step"
