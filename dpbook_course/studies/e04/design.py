"""Budgets of E04.   Chapter: 03_unrolling."""

BUDGETS = SHORT, DECIDING, LONG = 1500, 6000, 24000  # of further sets of data the first two alone
BUDGETS_ONE = (*BUDGETS, 96000)  # as much wall-clock as the unrolled ones need
