"""Budgets, rates and horizons of E07.   Chapter: 06_long_horizons."""

HORIZONS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128)  # of e07_gradients
FIRST = 16  # slopes are taken from this horizon on, when gradients have turned to the growing directions
BUDGET, LONG_BUDGET = 1500, 6000
RATES = (3e-4, 1e-3, 3e-3)
LENGTHS = (1, 4, 16, 64, 256)  # unroll lengths of e07_cost
