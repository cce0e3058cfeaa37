"""Budgets of E04.   Chapter: 03_unrolling."""

BUDGETS = (1500, 6000, 24000)
BUDGETS_ONE = (*BUDGETS, 96000)  # as much wall-clock as the unrolled ones need
